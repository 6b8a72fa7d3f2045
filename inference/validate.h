/*
 * Does a request fit its model's config? With Triton's rules, order of checks, and texts.
 */
#ifndef HIPPOCAMP_INFERENCE_VALIDATE_H
#define HIPPOCAMP_INFERENCE_VALIDATE_H

#include "base/model_config.h"
#include "inference/request.h"

/*
 * On success ordered[i] is the request's tensor for the config's input i (NULL for an optional one that is missing) and
 * *batch the number of rows (0 for models that do not batch). `ordered` has room for config->input_count.
 */
enum status validate_request(const struct model_config *config, const struct inference_request *request,
			     const struct tensor **ordered, int64_t *batch, struct error *error);

#endif
