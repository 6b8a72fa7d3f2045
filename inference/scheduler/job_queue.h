/*
 * The jobs of one model that wait: by priority level, and in each level first in, first out; and which of them make the
 * next batch. Meanings are Triton's (model_config.proto, ModelDynamicBatching). No threads in here: the scheduler's
 * mutex guards it.
 *
 * Level 1 is the most urgent. Jobs that waited longer than a policy with timeout_action DELAY allows come behind all
 * others of their level. Rejecting what waited too long is the business of whoever waits (see engine.c): of several
 * requests that wait for one job, each has a limit of its own.
 */
#ifndef HIPPOCAMP_INFERENCE_SCHEDULER_JOB_QUEUE_H
#define HIPPOCAMP_INFERENCE_SCHEDULER_JOB_QUEUE_H

#include "base/model_config.h"
#include "inference/scheduler/job.h"

TAILQ_HEAD(job_list, job);

struct job_level {
	struct job_list waiting;
	struct job_list delayed;
	size_t count;
	size_t count_max;
};

struct job_queue {
	struct job_level *levels;
	size_t level_count;
	size_t count;
	bool merges; /* jobs may run together */
	bool delays; /* some policy delays jobs */
	int64_t rows_max;
	uint64_t wait_ns; /* how long to wait for a fuller batch */
	const int32_t *preferred;
	size_t preferred_count;
};

/* `count_max` is for levels whose policy has no limit. The config outlives the queue. */
void job_queue_init(struct job_queue *queue, const struct model_config *config, size_t count_max);
void job_queue_fini(struct job_queue *queue);

/* False where the level is full. `now` is when the job was queued. */
bool job_queue_add(struct job_queue *queue, struct job *job, uint64_t now);
void job_queue_remove(struct job_queue *queue, struct job *job);

/* Moves a job to a more urgent level; nothing where it is there already. */
void job_queue_promote(struct job_queue *queue, struct job *job, size_t level);

/*
 * Takes the next batch out of the queue, or leaves `batch` empty: then *wait_ns tells when to ask again, 0 meaning when
 * something was added. `flush`: do not wait for a fuller one.
 */
void job_queue_take(struct job_queue *queue, uint64_t now, bool flush, struct job_list *batch, uint64_t *wait_ns);

#endif
