/*
 * Runs a job on an ensemble: each step is a request of its own to the engine, sent as soon as its inputs are ready, so
 * that steps are cached, joined and batched with all other requests to that model. Room-private.
 *
 * Everything happens on the loop of the lane.
 */
#ifndef HIPPOCAMP_INFERENCE_ENSEMBLE_RUN_H
#define HIPPOCAMP_INFERENCE_ENSEMBLE_RUN_H

#include "inference/models/executor.h"

/* Runs jobs of ensembles, only on behalf of a lane of the engine. */
extern const struct executor_ops ensemble_executor_ops;

#endif
