/*
 * Runs a job on another server (remote.h), one request for each job: the server batches by itself. The rows of a batch
 * are audited as those of a model of our own. Room-private.
 *
 * Everything happens on the loop of the lane.
 */
#ifndef HIPPOCAMP_INFERENCE_REMOTE_RUN_H
#define HIPPOCAMP_INFERENCE_REMOTE_RUN_H

#include "inference/models/executor.h"

extern const struct executor_ops remote_executor_ops;

#endif
