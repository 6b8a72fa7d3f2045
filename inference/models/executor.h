/*
 * The executor of jobs: the scheduler of a model with a backend (model_run.h), or the engine, for an ensemble
 * (ensemble_run.h). The fetch that makes a job knows only this table of how it runs.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_EXECUTOR_H
#define HIPPOCAMP_INFERENCE_MODELS_EXECUTOR_H

#include "inference/cache/freshness.h"
#include "inference/scheduler/job.h"

struct engine_lane;
struct model;

/* The request behind a job, as far as the job does not hold it. All that this points to lives as long as the job. */
struct job_origin {
	struct engine_lane *lane;
	struct cache_directives directives;
	struct bytes id;
	struct blob *block; /* holds the inputs, if one block does */
	bool audits;	    /* checks an answer: not counted as a run */
};

struct executor_ops {
	/* Uses the origin, and parameters that only say how a request is handled. */
	bool passes_on;

	/*
	 * Takes over the job until job->finished, which may be called before this returns. Returns false if there is no
	 * room; the job then stays with the caller. On the loop of the origin's lane.
	 */
	bool (*submit)(struct model *model, struct job *job, const struct job_origin *origin);

	/*
	 * Withdraws a job that nobody wants any more: it finishes as withdrawn, perhaps before this returns, or as
	 * usual if it is too late. A job that was not submitted is left alone. Any thread, until `release`.
	 */
	void (*withdraw)(struct model *model, struct job *job);

	/* Raises a job to a more urgent level, see struct job. NULL: levels do not matter. Threads as above. */
	void (*promote)(struct model *model, struct job *job, size_t level);

	/* Frees what the executor keeps for a finished job. NULL: nothing. On the loop of the origin's lane. */
	void (*release)(struct job *job);
};

#endif
