/*
 * The queue of one model's jobs, by priority level and first in, first out within a level, and the choice of the next
 * batch. Terms are Triton's (model_config.proto, ModelDynamicBatching). Not thread-safe: the scheduler's mutex guards
 * it.
 *
 * Level 1 is the most urgent. Jobs that waited longer than a policy with timeout_action DELAY allows come after all
 * others of their level. The queue does not reject jobs that waited too long; requests do (see answer.c), since each of
 * several requests that wait for one job has a limit of its own.
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

/* `count_max` is the limit of levels whose policy has none. The config outlives the queue. */
void job_queue_init(struct job_queue *queue, const struct model_config *config, size_t count_max);
void job_queue_fini(struct job_queue *queue);

/* Returns false if the level is full. `now` is when the job was queued. */
bool job_queue_add(struct job_queue *queue, struct job *job, uint64_t now);
void job_queue_remove(struct job_queue *queue, struct job *job);

/* Moves a job to a more urgent level; does nothing if `level` is not more urgent. */
void job_queue_promote(struct job_queue *queue, struct job *job, size_t level);

/*
 * Takes the next batch out of the queue. If it leaves `batch` empty, call it again after *wait_ns or, if that is 0,
 * when a job was added. `flush`: do not wait for a fuller batch.
 */
void job_queue_take(struct job_queue *queue, uint64_t now, bool flush, struct job_list *batch, uint64_t *wait_ns);

#endif
