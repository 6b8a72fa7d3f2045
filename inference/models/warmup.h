/*
 * model_warmup: runs that make a model ready before its first request, as Triton has them. Every sample runs `count`
 * times; all instances of a model share what it warms up. Its runs are counted in the statistics, and no cache is
 * asked.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_WARMUP_H
#define HIPPOCAMP_INFERENCE_MODELS_WARMUP_H

#include "inference/models/model.h"

/* On the thread that loads models. `folder` is the model's, its files lie in <folder>/warmup. */
enum status warmup_run(struct model *model, const char *folder, struct error *error);

#endif
