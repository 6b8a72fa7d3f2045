/*
 * Runs a job on an ensemble: each step is a request of its own to the engine, sent as soon as its inputs are there, so
 * that steps are cached, joined and batched with all others who ask that model. Room-private.
 *
 * Everything happens on the loop of the lane.
 */
#ifndef HIPPOCAMP_INFERENCE_ENSEMBLE_RUN_H
#define HIPPOCAMP_INFERENCE_ENSEMBLE_RUN_H

#include "inference/models/executor.h"

/* Runs jobs of ensembles. Nothing of it may be called but on behalf of a lane of the engine. */
extern const struct executor_ops ensemble_executor_ops;

#endif
