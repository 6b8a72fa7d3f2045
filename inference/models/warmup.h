/*
 * model_warmup: runs that make a model ready before its first request, as in Triton. Every sample runs `count` times,
 * for all instances of the model together. The runs are counted in the statistics, and do not use the cache.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_WARMUP_H
#define HIPPOCAMP_INFERENCE_MODELS_WARMUP_H

#include "inference/models/model.h"

/* Runs all samples, on the thread that loads models. `folder` is the model's; data files lie in <folder>/warmup. */
enum status warmup_run(struct model *model, const char *folder, struct error *error);

#endif
