/*
 * How the runs of one model reach its instances: a bounded queue, first in first out, and one worker thread for each
 * instance.
 *
 * A job belongs to the scheduler from submit until `finished`, which is called exactly once, on a worker thread,
 * whether the job ran, failed or was cancelled.
 */
#ifndef HIPPOCAMP_INFERENCE_SCHEDULER_H
#define HIPPOCAMP_INFERENCE_SCHEDULER_H

#include "base/blob.h"
#include "base/digest.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"

#include <stdatomic.h>
#include <sys/queue.h>

struct model;
struct scheduler;

struct job {
	TAILQ_ENTRY(job) queue;
	void (*finished)(struct job *job);

	/* What to run: inputs in the order of the config, shaped as the model wants them. */
	const struct tensor *inputs;
	size_t input_count;
	int64_t batch; /* rows, for models that batch; else 0 */
	const struct parameter *parameters;
	size_t parameter_count;
	const struct digest_value *key; /* of the answer, NULL where it has none */
	atomic_bool cancelled;		/* nobody waits any more: skip the run if it has not begun */

	/* What came of it. */
	enum status status;
	struct error error;
	struct blob *entry; /* a sealed entry; the owner of the job drops it */
	bool ran;
	uint64_t queued_ns;
	uint64_t started_ns;
	uint64_t infer_start_ns;
	uint64_t infer_end_ns;
	uint64_t finished_ns;
};

struct scheduler_options {
	const char *name; /* of the threads */
	int instances;
	size_t queue_max;
	void (*run)(void *context, struct job *job); /* fills status, error or entry, and the infer times */
	void *context;
};

struct scheduler *scheduler_new(const struct scheduler_options *options);

/* Finishes what is queued, then ends the threads. */
void scheduler_free(struct scheduler *scheduler);

/* False where the queue is full; the job is then still the caller's. */
bool scheduler_submit(struct scheduler *scheduler, struct job *job);

/* Jobs that wait. */
size_t scheduler_pending(struct scheduler *scheduler);

#endif
