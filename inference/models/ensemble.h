/*
 * An ensemble: a model made of others (ensemble_scheduling). Its tensors have names of their own; a step passes some of
 * them to a model as inputs, and makes others from the model's outputs. Rules and texts are Triton's.
 *
 * An ensemble keeps its steps' models as they were when it was opened, so it must be reopened when one of them is
 * replaced; see repository_change.c.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_ENSEMBLE_H
#define HIPPOCAMP_INFERENCE_MODELS_ENSEMBLE_H

#include "base/model_config.h"

struct model;

/* Where a tensor of the ensemble is an input or output of a step's model. */
struct ensemble_port {
	size_t tensor; /* the ensemble's */
	size_t index;  /* among the inputs, or outputs, of the model's config */
};

struct ensemble_step {
	struct model *model; /* a reference */
	struct ensemble_port *inputs;
	size_t input_count;
	struct ensemble_port *outputs;
	size_t output_count;
};

struct ensemble {
	size_t tensor_count; /* the first ones are the inputs of the config, in its order */
	size_t *outputs;     /* by the config's outputs: index of the tensor */
	struct ensemble_step *steps;
	size_t step_count;
};

/*
 * Checks, without the models, that the config is that of an ensemble whose graph leads from its inputs to its outputs.
 */
enum status ensemble_check(const struct model_config *config, struct error *error);

/* Returns a new reference to the model of a step, or NULL. */
typedef struct model *(*ensemble_find_fn)(void *context, struct bytes name, int64_t version, struct error *error);

/* Opens an ensemble of a checked config. Fails if the config does not fit the models. */
struct ensemble *ensemble_open(const struct model_config *config, ensemble_find_fn find, void *context,
			       struct error *error);
void ensemble_close(struct ensemble *ensemble); /* NULL is fine */

#endif
