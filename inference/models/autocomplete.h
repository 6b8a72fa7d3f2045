/*
 * What a config may leave out, filled in by Triton's rules, and what it says checked against the model itself.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_AUTOCOMPLETE_H
#define HIPPOCAMP_INFERENCE_MODELS_AUTOCOMPLETE_H

#include "backends/backend.h"

/*
 * Before the model is opened: name, backend and platform, file name. `name` is the model's, that
 * of its folder. `backends` lists what exists, with a NULL at the end; *backend is the one that runs the model.
 */
enum status autocomplete_backend(struct model_config *config, const char *name,
				 const struct backend_ops *const *backends, const struct backend_ops **backend,
				 struct error *error);

/* The same for an ensemble, which has no backend, and all that can be checked without its models. */
enum status autocomplete_ensemble(struct model_config *config, const char *name, struct error *error);

/* Is it an ensemble, or meant to be one? */
bool autocomplete_is_ensemble(const struct model_config *config);

/* What is wrong with the config whatever the model is. */
enum status autocomplete_check(const struct model_config *config, struct error *error);

/*
 * After: inputs, outputs and batching from the model's signature (NULL: the config must have them), and instance
 * groups. `allowed` false leaves inputs and outputs alone. `default_batch` is the max_batch_size of a model that can
 * batch and does not say.
 */
enum status autocomplete_tensors(struct model_config *config, const struct backend_ops *backend,
				 const struct backend_signature *signature, bool allowed, int32_t default_batch,
				 struct error *error);

#endif
