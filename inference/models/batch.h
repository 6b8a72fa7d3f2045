/*
 * Jobs put together as one batch: each input of all of them in one piece, and the outputs taken apart again, so that
 * every part of a job gets an entry with its own rows. Room-private; one batch belongs to one thread.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_BATCH_H
#define HIPPOCAMP_INFERENCE_MODELS_BATCH_H

#include "inference/scheduler/job_queue.h"
#include "inference/models/model.h"

struct batch {
	struct model *model;
	struct job_list *jobs;
	int64_t rows;	       /* of models that batch; else 0 */
	struct tensor *inputs; /* as the model wants them */
	size_t input_count;
	struct blob *gathered; /* the inputs that had to be copied together */
	uint64_t started_ns;
	uint64_t outputs_ns; /* set by the caller: when the outputs were there (clock_now_ns) */

	/* How old the answer is, where it is made of others: when the oldest of them was made, and when the first of
	 * them expires. 0: made now; never. */
	uint64_t created_ms;
	uint64_t expires_ms;
	bool keeps_stale; /* stale parts were this request's own wish, so the whole is stale for all others */

	/* This file's. */
	int64_t (*shapes)[TENSOR_RANK_MAX + 1];
	struct job_part *single; /* the only part there is: its entry is written in place */
	struct blob *together;	 /* an entry of all rows, to be taken apart */
	bool rows_inseparable;
};

/*
 * One job or more that go together; they outlive the batch. Inputs that lie in one piece already are used as they are.
 * Fails without memory.
 */
enum status batch_init(struct batch *batch, struct model *model, struct job_list *jobs, struct error *error);
void batch_fini(struct batch *batch);

/* Memory for all outputs, see struct backend_run; a second call forgets the first. */
enum status batch_allocate(struct batch *batch, const struct backend_output *outputs, uint8_t **data,
			   struct error *error);

/* What an earlier batch gave it. */
void job_drop_entries(struct job *job);

/*
 * Takes the outputs apart, where `status` is good, and fills in what came of each job. Returns that. What this takes
 * counts as output time, beside what `times` has. Outputs that do not have the rows of the inputs are marked, and fail
 * but for a job that is a whole request and ran by itself: they are its answer as the model gives it.
 */
enum status batch_finish(struct batch *batch, enum status status, const struct error *error,
			 const struct run_times *times);

#endif
