/*
 * Checks the inputs of a request against its model's config, with Triton's rules, order of checks, and texts.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_VALIDATE_H
#define HIPPOCAMP_INFERENCE_MODELS_VALIDATE_H

#include "base/model_config.h"
#include "base/status.h"
#include "base/tensor.h"

/* The inputs that a client gave, and the id of its request for error texts. */
struct given_inputs {
	struct bytes id;
	const struct tensor *inputs;
	size_t input_count;
};

/*
 * On success ordered[i] is the request's tensor for the config's input i (NULL for an optional one that is missing) and
 * *batch the number of rows (0 for models that do not batch). `ordered` has room for config->input_count.
 */
enum status validate_inputs(const struct model_config *config, const struct given_inputs *request,
			    const struct tensor **ordered, int64_t *batch, struct error *error);

#endif
