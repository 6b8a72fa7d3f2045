/*
 * Runs a job on an ensemble: each step is a request of its own to the engine, sent as soon as its inputs are there, so
 * that steps are cached, joined and batched with all others who ask that model. Room-private.
 *
 * Everything happens on the loop of the lane.
 */
#ifndef HIPPOCAMP_INFERENCE_ENSEMBLE_RUN_H
#define HIPPOCAMP_INFERENCE_ENSEMBLE_RUN_H

#include "inference/engine.h"
#include "inference/job.h"

struct ensemble_run;

/* What the job does not tell of the request that it comes from. Lives as long as the job. */
struct ensemble_origin {
	struct cache_directives directives; /* go for the steps' caches, too */
	struct bytes id;
	struct blob *block; /* that the inputs lie in, where they lie in one */
	bool audits;	    /* see struct inference_request */
};

/* The model is one with an ensemble, and outlives the run. */
struct ensemble_run *ensemble_run_new(struct engine_lane *lane, struct model *model, struct job *job,
				      const struct ensemble_origin *origin);

/* Calls job->finished exactly once, perhaps before this returns; the run is gone then. */
void ensemble_run_start(struct ensemble_run *run);

/* Nobody wants it any more: it ends, as withdrawn, as soon as the steps under way have. */
void ensemble_run_cancel(struct ensemble_run *run);

#endif
