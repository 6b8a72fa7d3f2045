/*
 * How the runs of one model reach its instances: a bounded queue (job_queue.h) and one worker thread for each instance.
 * A free worker takes the next batch itself, so batches grow while all are busy.
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
	/* Runs them as one batch and fills in what came of each; on a worker's thread. */
	void (*run)(void *context, struct job_list *batch);
	void *context;
};

struct scheduler *scheduler_new(const struct scheduler_options *options);

/* Finishes what is queued, then ends the threads. */
void scheduler_free(struct scheduler *scheduler);

/* False where the queue is full; the job is then still the caller's. Any thread. */
bool scheduler_submit(struct scheduler *scheduler, struct job *job);

/* Takes a job back that waits, so that it finishes as withdrawn; nothing where it has begun. Any thread. */
void scheduler_withdraw(struct scheduler *scheduler, struct job *job);

/* Somebody more urgent waits for the job, too. Any thread. */
void scheduler_promote(struct scheduler *scheduler, struct job *job, size_t level);

/* From now on nothing waits for a fuller batch: no more requests are to be expected. Any thread. */
void scheduler_flush(struct scheduler *scheduler);

/* Jobs that wait. Any thread. */
size_t scheduler_pending(struct scheduler *scheduler);

#endif
