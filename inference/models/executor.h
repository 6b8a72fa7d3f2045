/*
 * Who runs jobs, behind one table: the scheduler of a model with a backend (model_run.h), or the engine, for an
 * ensemble (ensemble_run.h). The fetch that makes a job knows nothing else of how it runs. Room-private.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_EXECUTOR_H
#define HIPPOCAMP_INFERENCE_MODELS_EXECUTOR_H

#include "inference/cache/freshness.h"
#include "inference/scheduler/job.h"

struct engine_lane;
struct model;

/* What a job does not tell of the request that it comes from. What it points to lives as long as the job. */
struct job_origin {
	struct engine_lane *lane;
	struct cache_directives directives;
	struct bytes id;
	struct blob *block; /* that the inputs lie in, where they lie in one */
	bool audits;	    /* not to be counted as a run: it is to check an answer */
};

struct executor_ops {
	/* The origin, and parameters that only say how a request is handled, are of use. */
	bool passes_on;

	/*
	 * Takes the job over until job->finished, which may be called before this returns. False where there is no
	 * room; then the job is still the caller's. On the loop of the origin's lane.
	 */
	bool (*submit)(struct model *model, struct job *job, const struct job_origin *origin);

	/*
	 * Nobody wants the job any more: it finishes as withdrawn, perhaps before this returns, or as ever where it is
	 * too late for that. A job that has not been submitted is left alone. Any thread, until `release`.
	 */
	void (*withdraw)(struct model *model, struct job *job);

	/* Somebody more urgent waits for the job, too; level as in struct job. NULL: no matter. Threads as above. */
	void (*promote)(struct model *model, struct job *job, size_t level);

	/* What is kept for a job that has finished goes. NULL: nothing is. On the loop of the origin's lane. */
	void (*release)(struct job *job);
};

#endif
