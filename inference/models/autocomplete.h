/*
 * Completes what a config leaves out, by Triton's rules, and checks it against the model.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_AUTOCOMPLETE_H
#define HIPPOCAMP_INFERENCE_MODELS_AUTOCOMPLETE_H

#include "backends/backend.h"

/*
 * Before the model is opened: completes name, backend, platform and file name. `name` is that of the model's folder.
 * `backends` ends with a NULL; *backend becomes the one that runs the model.
 */
enum status autocomplete_backend(struct model_config *config, const char *name,
				 const struct backend_ops *const *backends, const struct backend_ops **backend,
				 struct error *error);

/* The same for an ensemble, which has no backend. Checks all that can be checked without its models. */
enum status autocomplete_ensemble(struct model_config *config, const char *name, struct error *error);

/* Is it an ensemble, or meant to be one? */
bool autocomplete_is_ensemble(const struct model_config *config);

/* Checks what holds for any model. */
enum status autocomplete_check(const struct model_config *config, struct error *error);

/*
 * After the model is opened: completes inputs, outputs and batching from its signature (NULL: the config must have
 * them), and instance groups. If `allowed` is false, inputs and outputs are not completed. `default_batch` is the
 * max_batch_size of a model that can batch but whose config does not state it.
 */
enum status autocomplete_tensors(struct model_config *config, const struct backend_ops *backend,
				 const struct backend_signature *signature, bool allowed, int32_t default_batch,
				 struct error *error);

#endif
