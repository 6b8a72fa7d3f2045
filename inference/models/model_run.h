/*
 * Runs jobs on a model: merges them into one batch, and splits the outputs so that every part of a job gets an entry
 * with its own rows. On worker threads, unless stated otherwise.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_MODEL_RUN_H
#define HIPPOCAMP_INFERENCE_MODELS_MODEL_RUN_H

#include "inference/models/executor.h"
#include "inference/scheduler/job_queue.h"

/* Runs jobs on a model's own scheduler. */
extern const struct executor_ops model_executor_ops;

/*
 * What the model's scheduler runs (scheduler_options.run, set in model_open.c). Runs a batch and fills in the result of
 * each job. If several jobs fail together, or an audit finds that they changed
 * each other's answers, each runs again by itself; after such an audit, jobs of rows fail instead, with
 * rows_inseparable.
 */
void model_run_batch(struct model *model, struct job_list *batch);

/* Counts a job that ran, and what it cost; `lane` is the caller's stripe of the statistics. Any thread. */
void model_run_account(struct model *model, size_t lane, const struct job *job);

#endif
