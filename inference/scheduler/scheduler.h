/*
 * Schedules the jobs of one model on its instances: a bounded queue (job_queue.h) and one worker thread for each
 * instance. A free worker takes the next batch itself, so batches grow while all are busy.
 *
 * A job belongs to the scheduler from submit until `finished`.
 */
#ifndef HIPPOCAMP_INFERENCE_SCHEDULER_SCHEDULER_H
#define HIPPOCAMP_INFERENCE_SCHEDULER_SCHEDULER_H

#include "inference/scheduler/job_queue.h"

struct scheduler;

struct scheduler_options {
	const char *name; /* of the threads */
	int instances;
	const struct model_config *config; /* outlives the scheduler */
	/* Runs the jobs as one batch and fills in their results; on a worker's thread. */
	void (*run)(void *context, struct job_list *batch);
	void *context;
};

struct scheduler *scheduler_new(const struct scheduler_options *options);

/* Runs all queued jobs, then ends the threads. */
void scheduler_free(struct scheduler *scheduler);

/* Returns false if the queue is full or closed; the job then stays the caller's. Any thread. */
bool scheduler_submit(struct scheduler *scheduler, struct job *job);

/* Withdraws a queued job, which finishes as withdrawn; does nothing if the job has begun. Any thread. */
void scheduler_withdraw(struct scheduler *scheduler, struct job *job);

/* Raises a queued job to a more urgent level. Any thread. */
void scheduler_promote(struct scheduler *scheduler, struct job *job, size_t level);

/* From now on, no job waits for a fuller batch: no more requests are expected. Any thread. */
void scheduler_flush(struct scheduler *scheduler);

/* The number of queued jobs. Any thread. */
size_t scheduler_pending(struct scheduler *scheduler);

#endif
