/*
 * A job: one requested run of a model. It consists of parts, ranges of rows that get an entry each; several jobs may
 * run as one batch.
 */
#ifndef HIPPOCAMP_INFERENCE_SCHEDULER_JOB_H
#define HIPPOCAMP_INFERENCE_SCHEDULER_JOB_H

#include "base/blob.h"
#include "base/keyed_hash.h"
#include "base/memory.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"

#include <stdatomic.h>
#include <sys/queue.h>

/* How long the phases of a run took. */
struct run_times {
	uint64_t queue_ns;
	uint64_t input_ns;
	uint64_t infer_ns;
	uint64_t output_ns;
};

struct job_part {
	int64_t rows;			/* for models that batch; else 0 */
	const struct bytes *data;	/* by input */
	const struct digest_value *key; /* of the answer; NULL where it has none */
	uint64_t lifetime_ms;		/* how long the answer is fresh; 0: no end */
	struct blob *entry;		/* out, on success: sealed; the owner of the job drops it */
};

struct job {
	TAILQ_ENTRY(job) queue;
	/* Called exactly once, on any thread, when the job has run, failed, or was withdrawn. */
	void (*finished)(struct job *job);

	/* What to run: inputs in the order of the config, in the model's shape of one part; the parts have the data. */
	const struct tensor *inputs;
	size_t input_count;
	struct job_part *parts;
	size_t part_count;
	int64_t rows;		      /* of all parts */
	const atomic_bool *is_joined; /* requests wait for it beside the one that leads it; NULL: it is not known */
	const struct parameter *parameters;
	size_t parameter_count;
	const struct keyed_hash_key *entry_key; /* entries get a MAC under it; NULL: they stay in the process */
	enum keyed_hash_kind entry_hash;
	bool by_row;	   /* the parts are rows that requests may share, so the answer must have exactly those */
	bool splits_rows;  /* the parts are whole requests whose callers split rows: see struct inference_request */
	bool unmerged;	   /* never batched with other jobs */
	bool unbatched;	   /* the same, and first, even if the queue is full: a retry, or an audit */
	size_t level;	   /* 1 is the most urgent */
	uint64_t delay_ns; /* after this wait it lets other jobs pass; 0: never */

	_Atomic(void *) execution; /* what its executor keeps for it; NULL: nothing */

	/* Internal to the queue. */
	bool queued;
	bool delayed;
	atomic_bool started; /* read by waiting requests: it can no longer be withdrawn */

	/* The result. */
	enum status status;
	struct error *error;   /* if the job failed; see job_error */
	bool rows_inseparable; /* the outputs cannot be split by row; `status` may be STATUS_OK nevertheless */
	bool withdrawn;	       /* withdrawn before it began */
	bool ran;
	bool first;	    /* first of its batch, which counts the execution */
	int64_t batch_rows; /* of the batch that it ran in */
	uint64_t queued_ns;
	uint64_t started_ns;
	uint64_t finished_ns;
	struct run_times times; /* without queue_ns */
};

/* Where the reason of a failure goes. It is made when it is first needed, and the job's owner frees it. */
static inline struct error *
job_error(struct job *job)
{
	if (job->error == NULL) {
		job->error = memory_new(sizeof(*job->error));
	}
	return job->error;
}

/* Where inputs are copied into one block, each begins at a multiple of this. */
#define JOB_DATA_ALIGNMENT ((size_t)64)

static inline size_t
job_aligned(size_t length)
{
	return (length + JOB_DATA_ALIGNMENT - 1) & ~(JOB_DATA_ALIGNMENT - 1);
}

#endif
