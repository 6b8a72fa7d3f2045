/*
 * Merges jobs into one batch: makes each of their inputs contiguous, and splits the outputs again, so that every part
 * of a job gets an entry with its own rows. Room-private; one batch belongs to one thread.
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

	/*
	 * Dates of an answer made from others, in ms since 1970: when the oldest of them was made (0: now), and when
	 * the first of them expires (0: never).
	 */
	uint64_t created_ms;
	uint64_t expires_ms;
	bool keeps_stale; /* the request itself accepts stale parts, so the whole stays stale for others */

	/* Internal to batch.c. */
	int64_t (*shapes)[TENSOR_RANK_MAX + 1];
	struct job_part *single; /* the only part, if there is one: its entry is written in place */
	struct blob *together;	 /* an entry of all rows, to be split */
	bool rows_inseparable;
};

/*
 * Makes a batch of one or more jobs, which outlive it. Contiguous inputs are used in place. Fails when memory runs out.
 */
enum status batch_init(struct batch *batch, struct model *model, struct job_list *jobs, struct error *error);
void batch_fini(struct batch *batch);

/* Allocates all outputs, see struct backend_run; a second call replaces the first. */
enum status batch_allocate(struct batch *batch, const struct backend_output *outputs, uint8_t **data,
			   struct error *error);

/* Drops the entries of an earlier run. */
void job_drop_entries(struct job *job);

/*
 * Splits the outputs, if `status` is STATUS_OK, seals the entries (date, key, MAC: see entry.h), and fills in the
 * result of each job. Returns the final status. The time of this call is added to the output time of `times`. Outputs
 * that do not have the rows of the inputs set rows_inseparable and fail the jobs, except a whole request that ran by
 * itself, which gets them as its answer.
 */
enum status batch_finish(struct batch *batch, enum status status, const struct error *error,
			 const struct run_times *times);

#endif
