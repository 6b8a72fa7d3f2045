#include "inference/models/ensemble.h"

#include "base/memory.h"
#include "inference/models/model.h"

#include <stdlib.h>

#define STEPS_MAX 1000

/* --- The graph of a config --- */

struct node {
	struct bytes name;
	bool wanted; /* an output of the ensemble */
	bool used;   /* by a step */
	size_t step; /* the step that makes it, if `made` */
	bool made;
	bool ready; /* an input, or made by a step whose inputs are all ready */
};

struct graph {
	const struct model_config *config;
	struct node *nodes;
	size_t count;
	size_t **inputs; /* by step: the nodes of its inputs */
};

static ptrdiff_t
find_node(const struct graph *graph, struct bytes name)
{
	for (size_t i = 0; i < graph->count; i++) {
		if (bytes_equal(graph->nodes[i].name, name)) {
			return (ptrdiff_t)i;
		}
	}
	return -1;
}

static struct node *
enter_node(struct graph *graph, struct bytes name)
{
	ptrdiff_t found = find_node(graph, name);

	if (found >= 0) {
		return &graph->nodes[found];
	}
	graph->nodes[graph->count].name = name;
	return &graph->nodes[graph->count++];
}

static enum status
enter_step(struct graph *graph, size_t index, struct error *error)
{
	const struct model_step *step = &graph->config->steps[index];

	graph->inputs[index] = memory_array(step->input_count, sizeof(**graph->inputs));
	for (size_t i = 0; i < step->input_count; i++) {
		struct node *node = enter_node(graph, step->inputs[i].ensemble_tensor);

		node->used = true;
		graph->inputs[index][i] = (size_t)(node - graph->nodes);
	}
	for (size_t i = 0; i < step->output_count; i++) {
		struct node *node = enter_node(graph, step->outputs[i].ensemble_tensor);

		if (node->made || node->ready) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "ensemble tensor '%.*s' can appear in an output map only once for ensemble "
					 "'%.*s' step %zu",
					 BYTES_ARGS(node->name), BYTES_ARGS(graph->config->name), index);
		}
		node->made = true;
		node->step = index;
	}
	return STATUS_OK;
}

static const struct node *
first_unready_input(const struct graph *graph, size_t step)
{
	for (size_t i = 0; i < graph->config->steps[step].input_count; i++) {
		const struct node *node = &graph->nodes[graph->inputs[step][i]];

		if (!node->ready) {
			return node;
		}
	}
	return NULL;
}

/* Marks all nodes as ready that can be made from the inputs. */
static void
make_ready(struct graph *graph)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < graph->count; i++) {
			struct node *node = &graph->nodes[i];

			if (node->made && !node->ready && first_unready_input(graph, node->step) == NULL) {
				node->ready = true;
				more = true;
			}
		}
	}
}

static void
graph_fini(struct graph *graph)
{
	for (size_t i = 0; i < graph->config->step_count; i++) {
		free(graph->inputs[i]);
	}
	free(graph->inputs);
	free(graph->nodes);
}

/* Call graph_fini afterwards, also on failure. */
static enum status
graph_init(struct graph *graph, const struct model_config *config, struct error *error)
{
	size_t most = config->input_count + config->output_count;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < config->step_count; i++) {
		most += config->steps[i].input_count + config->steps[i].output_count;
	}
	*graph = (struct graph){
		.config = config,
		.nodes = memory_array(most, sizeof(*graph->nodes)),
		.inputs = memory_array(config->step_count, sizeof(*graph->inputs)),
	};
	for (size_t i = 0; i < config->input_count; i++) {
		enter_node(graph, config->inputs[i].name)->ready = true;
	}
	for (size_t i = 0; i < config->step_count && status == STATUS_OK; i++) {
		status = enter_step(graph, i, error);
	}
	for (size_t i = 0; i < config->output_count; i++) {
		enter_node(graph, config->outputs[i].name)->wanted = true;
	}
	make_ready(graph);
	return status;
}

/* --- Checks of the config alone --- */

static enum status
check_output(const struct graph *graph, struct bytes name, struct error *error)
{
	const struct node *node = &graph->nodes[find_node(graph, name)];
	const struct node *lacking = node->made ? first_unready_input(graph, node->step) : NULL;

	if (lacking != NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "output '%.*s' for ensemble '%.*s' is not written: at least one of its depending "
				 "tensors, '%.*s', is not connected",
				 BYTES_ARGS(name), BYTES_ARGS(graph->config->name), BYTES_ARGS(lacking->name));
	}
	if (!node->ready) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "ensemble output '%.*s' for ensemble '%.*s' is not used", BYTES_ARGS(name),
				 BYTES_ARGS(graph->config->name));
	}
	return STATUS_OK;
}

static enum status
check_connections(const struct graph *graph, struct error *error)
{
	const struct model_config *config = graph->config;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < config->input_count; i++) {
		if (!graph->nodes[i].used) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "ensemble input '%.*s' for ensemble '%.*s' is not used (no input_map has it "
					 "as a value; "
					 "the keys are the model's tensors)",
					 BYTES_ARGS(graph->nodes[i].name), BYTES_ARGS(config->name));
		}
	}
	for (size_t i = 0; i < config->output_count && status == STATUS_OK; i++) {
		status = check_output(graph, config->outputs[i].name, error);
	}
	for (size_t i = 0; i < graph->count && status == STATUS_OK; i++) {
		const struct node *node = &graph->nodes[i];

		if (!node->ready || (!node->used && !node->wanted)) {
			status = error_set(error, STATUS_INVALID_ARGUMENT,
					   "ensemble tensor '%.*s' is unused in ensemble '%.*s'",
					   BYTES_ARGS(node->name), BYTES_ARGS(config->name));
		}
	}
	return status;
}

static enum status
check_step(const struct model_config *config, size_t index, struct error *error)
{
	const struct model_step *step = &config->steps[index];
	const char *missing = step->model.length == 0	? "model_name"
			      : step->input_count == 0	? "input_map"
			      : step->output_count == 0 ? "output_map"
							: NULL;

	return missing == NULL
		       ? STATUS_OK
		       : error_set(error, STATUS_INVALID_ARGUMENT, "must specify '%s' in step %zu of ensemble '%.*s'",
				   missing, index, BYTES_ARGS(config->name));
}

/* Rejects settings that an ensemble cannot have, and too many or no steps. */
static enum status
check_settings(const struct model_config *config, struct error *error)
{
	if (config->instance_group_count > 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "instance group should not be specified for ensemble '%.*s'",
				 BYTES_ARGS(config->name));
	}
	if (config->has_optimization) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "optimization should not be specified for ensemble '%.*s'", BYTES_ARGS(config->name));
	}
	if (config->warmup_count > 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "model_warmup can not be specified for ensemble '%.*s'", BYTES_ARGS(config->name));
	}
	if (config->max_inflight_requests > 0) {
		return error_set(error, STATUS_UNSUPPORTED, "max_inflight_requests is not supported: ensemble '%.*s'",
				 BYTES_ARGS(config->name));
	}
	if (config->step_count > STEPS_MAX) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "at most %d steps are supported for ensemble '%.*s'",
				 STEPS_MAX, BYTES_ARGS(config->name));
	}
	if (config->step_count == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "must specify 'step' for ensemble '%.*s'",
				 BYTES_ARGS(config->name));
	}
	return STATUS_OK;
}

enum status
ensemble_check(const struct model_config *config, struct error *error)
{
	enum status status = check_settings(config, error);
	struct graph graph;

	for (size_t i = 0; i < config->step_count && status == STATUS_OK; i++) {
		status = check_step(config, i, error);
	}
	if (status != STATUS_OK) {
		return status;
	}
	status = graph_init(&graph, config, error);
	if (status == STATUS_OK) {
		status = check_connections(&graph, error);
	}
	graph_fini(&graph);
	return status;
}

/* --- Checks against the models --- */

/* A tensor's type and shape, and the config that states them. */
struct inferred {
	const struct model_config *from;
	const struct model_tensor *tensor;
};

static const struct model_dims *
dims_of(const struct inferred *inferred, bool inside)
{
	return inside && inferred->tensor->has_reshape ? &inferred->tensor->reshape : &inferred->tensor->dims;
}

/* The shape with the batch dimension, if there is one. */
static size_t
full_shape(const struct inferred *inferred, const struct model_config *ensemble, int64_t *shape)
{
	const struct model_dims *dims = dims_of(inferred, inferred->from == ensemble);
	size_t lead = inferred->from->max_batch_size > 0;

	shape[0] = -1;
	memcpy(shape + lead, dims->dims, dims->rank * sizeof(*shape));
	return dims->rank + lead;
}

static bool
dims_match(const int64_t *left, size_t left_rank, const int64_t *right, size_t right_rank)
{
	if (left_rank != right_rank) {
		return false;
	}
	for (size_t i = 0; i < left_rank; i++) {
		if (left[i] != right[i] && left[i] != -1 && right[i] != -1) {
			return false;
		}
	}
	return true;
}

/* Checks that two shapes match, with batch dimensions or without. */
static enum status
compare(const struct graph *graph, size_t index, const struct inferred *first, const struct inferred *other,
	struct error *error)
{
	const struct model_config *config = graph->config;
	struct bytes name = graph->nodes[index].name;
	const struct model_dims *left = dims_of(first, first->from == config);
	const struct model_dims *right = dims_of(other, other->from == config);
	int64_t left_full[TENSOR_RANK_MAX + 1];
	int64_t right_full[TENSOR_RANK_MAX + 1];
	size_t left_rank = full_shape(first, config, left_full);
	size_t right_rank = full_shape(other, config, right_full);
	char left_text[256];
	char right_text[256];

	if (first->tensor->datatype != other->tensor->datatype) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "in ensemble %.*s, ensemble tensor %.*s: inconsistent data type: %s is inferred from "
				 "model %.*s while %s is inferred from model %.*s",
				 BYTES_ARGS(config->name), BYTES_ARGS(name),
				 datatype_config_name(first->tensor->datatype), BYTES_ARGS(first->from->name),
				 datatype_config_name(other->tensor->datatype), BYTES_ARGS(other->from->name));
	}
	if (dims_match(left->dims, left->rank, right->dims, right->rank) ||
	    dims_match(left_full, left_rank, right_full, right_rank)) {
		return STATUS_OK;
	}
	shape_text(left_full, left_rank, left_text, sizeof(left_text));
	shape_text(right_full, right_rank, right_text, sizeof(right_text));
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "in ensemble %.*s, ensemble tensor %.*s: inconsistent shape: %s is inferred from model %.*s "
			 "while %s is inferred from model %.*s",
			 BYTES_ARGS(config->name), BYTES_ARGS(name), left_text, BYTES_ARGS(first->from->name),
			 right_text, BYTES_ARGS(other->from->name));
}

/* The first statement on a tensor holds. */
static enum status
infer(const struct graph *graph, struct inferred *known, size_t index, const struct model_config *from,
      const struct model_tensor *tensor, struct error *error)
{
	struct inferred here = {.from = from, .tensor = tensor};

	if (known[index].from == NULL) {
		known[index] = here;
		return STATUS_OK;
	}
	return compare(graph, index, &known[index], &here, error);
}

static enum status
infer_own(const struct graph *graph, struct inferred *known, struct error *error)
{
	const struct model_config *config = graph->config;
	enum status status = STATUS_OK;

	for (size_t i = 0; i < config->input_count && status == STATUS_OK; i++) {
		status = infer(graph, known, i, config, &config->inputs[i], error);
	}
	for (size_t i = 0; i < config->output_count && status == STATUS_OK; i++) {
		status = infer(graph, known, (size_t)find_node(graph, config->outputs[i].name), config,
			       &config->outputs[i], error);
	}
	return status;
}

/* --- Opening --- */

static enum status
connect_inputs(const struct graph *graph, struct inferred *known, const struct model_step *config,
	       struct ensemble_step *step, struct error *error)
{
	const struct model_config *model = &step->model->config;
	enum status status = STATUS_OK;

	step->inputs = memory_array(config->input_count, sizeof(*step->inputs));
	for (size_t i = 0; i < config->input_count && status == STATUS_OK; i++) {
		struct bytes name = config->inputs[i].ensemble_tensor;
		ptrdiff_t index = model_tensor_index(model->inputs, model->input_count, config->inputs[i].tensor);
		struct ensemble_port *port = &step->inputs[step->input_count++];

		if (index < 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "in ensemble %.*s, ensemble tensor %.*s is mapping to non-existing input "
					 "%.*s in model %.*s",
					 BYTES_ARGS(graph->config->name), BYTES_ARGS(name),
					 BYTES_ARGS(config->inputs[i].tensor), BYTES_ARGS(model->name));
		}
		*port = (struct ensemble_port){.tensor = (size_t)find_node(graph, name), .index = (size_t)index};
		status = infer(graph, known, port->tensor, model, &model->inputs[index], error);
	}
	return status;
}

static enum status
connect_outputs(const struct graph *graph, struct inferred *known, const struct model_step *config,
		struct ensemble_step *step, struct error *error)
{
	const struct model_config *model = &step->model->config;
	enum status status = STATUS_OK;

	step->outputs = memory_array(config->output_count, sizeof(*step->outputs));
	for (size_t i = 0; i < config->output_count && status == STATUS_OK; i++) {
		struct bytes name = config->outputs[i].ensemble_tensor;
		ptrdiff_t index = model_tensor_index(model->outputs, model->output_count, config->outputs[i].tensor);
		struct ensemble_port *port = &step->outputs[step->output_count++];

		if (index < 0) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "in ensemble %.*s, ensemble tensor %.*s is mapped from non-existing output "
					 "%.*s in model %.*s",
					 BYTES_ARGS(graph->config->name), BYTES_ARGS(name),
					 BYTES_ARGS(config->outputs[i].tensor), BYTES_ARGS(model->name));
		}
		*port = (struct ensemble_port){.tensor = (size_t)find_node(graph, name), .index = (size_t)index};
		status = infer(graph, known, port->tensor, model, &model->outputs[index], error);
	}
	return status;
}

/* Checks that every required input of the model is mapped, and none twice. */
static enum status
check_inputs(const struct graph *graph, const struct ensemble_step *step, struct error *error)
{
	const struct model_config *model = &step->model->config;

	for (size_t i = 0; i < model->input_count; i++) {
		size_t mapped = 0;

		for (size_t k = 0; k < step->input_count; k++) {
			mapped += step->inputs[k].index == i;
		}
		if (mapped > 1 || (mapped == 0 && !model->inputs[i].optional)) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "in ensemble %.*s, input %.*s in model %.*s is %s",
					 BYTES_ARGS(graph->config->name), BYTES_ARGS(model->inputs[i].name),
					 BYTES_ARGS(model->name),
					 mapped == 0 ? "not mapped to any ensemble tensors"
						     : "mapped to multiple ensemble tensors");
		}
	}
	return STATUS_OK;
}

static enum status
connect_step(const struct graph *graph, struct inferred *known, const struct model_step *config,
	     struct ensemble_step *step, struct error *error)
{
	int32_t own = graph->config->max_batch_size;
	int32_t models = step->model->config.max_batch_size;
	enum status status;

	if (models > 0 && own > models) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "ensemble %.*s allows maximum batch size %d, but it contains model %.*s which only "
				 "allows maximum batch size to be %d",
				 BYTES_ARGS(graph->config->name), own, BYTES_ARGS(config->model), models);
	}
	status = connect_inputs(graph, known, config, step, error);
	if (status == STATUS_OK) {
		status = check_inputs(graph, step, error);
	}
	return status == STATUS_OK ? connect_outputs(graph, known, config, step, error) : status;
}

static enum status
open_steps(struct ensemble *ensemble, const struct graph *graph, ensemble_find_fn find, void *context,
	   struct error *error)
{
	const struct model_config *config = graph->config;
	struct inferred *known = memory_array(graph->count, sizeof(*known));
	enum status status = infer_own(graph, known, error);

	ensemble->steps = memory_array(config->step_count, sizeof(*ensemble->steps));
	for (size_t i = 0; i < config->step_count && status == STATUS_OK; i++) {
		struct ensemble_step *step = &ensemble->steps[i];

		ensemble->step_count++;
		step->model = find(context, config->steps[i].model, config->steps[i].version, error);
		status = step->model == NULL ? error->status
					     : connect_step(graph, known, &config->steps[i], step, error);
	}
	free(known);
	return status;
}

struct ensemble *
ensemble_open(const struct model_config *config, ensemble_find_fn find, void *context, struct error *error)
{
	struct ensemble *ensemble = memory_new(sizeof(*ensemble));
	struct graph graph;
	enum status status = graph_init(&graph, config, error);

	ensemble->tensor_count = graph.count;
	ensemble->outputs = memory_array(config->output_count, sizeof(*ensemble->outputs));
	for (size_t i = 0; i < config->output_count; i++) {
		ensemble->outputs[i] = (size_t)find_node(&graph, config->outputs[i].name);
	}
	if (status == STATUS_OK) {
		status = open_steps(ensemble, &graph, find, context, error);
	}
	graph_fini(&graph);
	if (status != STATUS_OK) {
		ensemble_close(ensemble);
		return NULL;
	}
	return ensemble;
}

void
ensemble_close(struct ensemble *ensemble)
{
	if (ensemble == NULL) {
		return;
	}
	for (size_t i = 0; i < ensemble->step_count; i++) {
		if (ensemble->steps[i].model != NULL) {
			model_unref(ensemble->steps[i].model);
		}
		free(ensemble->steps[i].inputs);
		free(ensemble->steps[i].outputs);
	}
	free(ensemble->steps);
	free(ensemble->outputs);
	free(ensemble);
}
