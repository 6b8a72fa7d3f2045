/*
 * Runs jobs on a model: puts them together as one batch, and takes the outputs apart again so that every part of a job
 * gets an entry with its own rows. Room-private; on worker threads.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_MODEL_RUN_H
#define HIPPOCAMP_INFERENCE_MODELS_MODEL_RUN_H

#include "inference/models/executor.h"
#include "inference/scheduler/job_queue.h"

/* Runs jobs on a model's own scheduler. */
extern const struct executor_ops model_executor_ops;

/*
 * Fills in what came of each job. Where a batch of several jobs fails, or an audit finds that they have changed each
 * other's answers, each runs again by itself; jobs of rows then fail, with rows_inseparable.
 */
void model_run_batch(struct model *model, struct job_list *batch);

/* Counts a job that ran, and what it cost; `lane` is the caller's stripe of the statistics. Any thread. */
void model_run_account(struct model *model, size_t lane, const struct job *job);

#endif
