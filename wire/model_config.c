#include "wire/model_config.h"

#include "model_config.pb-c.h"
#include "wire/proto.h"

#include <stdlib.h>

#define CONFIG_ARENA_MAX ((size_t)64 << 20)

typedef Inference__ModelConfig document;

static void
free_document(void *message)
{
	protobuf_c_message_free_unpacked(message, NULL);
}

static struct bytes
text_of(struct model_config *config, const char *text)
{
	return arena_copy(&config->arena, bytes_text(text));
}

/* --- Document to struct: all memory comes from the config's arena; NULL or false means that it ran out --- */

static bool
read_dims(struct model_config *config, const int64_t *dims, size_t rank, struct model_dims *out)
{
	out->rank = rank;
	out->dims = arena_array(&config->arena, rank, sizeof(*dims));
	if (out->dims == NULL) {
		return false;
	}
	if (rank > 0) {
		memcpy(out->dims, dims, rank * sizeof(*dims));
	}
	return true;
}

static bool
read_reshape(struct model_config *config, const Inference__ModelTensorReshape *reshape, struct model_tensor *tensor)
{
	tensor->has_reshape = reshape != NULL;
	return reshape == NULL || read_dims(config, reshape->shape, reshape->n_shape, &tensor->reshape);
}

static bool
read_inputs(struct model_config *config, const document *from)
{
	config->input_count = from->n_input;
	config->inputs = arena_array(&config->arena, from->n_input, sizeof(*config->inputs));
	for (size_t i = 0; config->inputs != NULL && i < from->n_input; i++) {
		const Inference__ModelInput *input = from->input[i];
		struct model_tensor *tensor = &config->inputs[i];

		tensor->name = text_of(config, input->name);
		tensor->datatype = (enum datatype)input->data_type;
		tensor->format = (enum model_format)input->format;
		tensor->optional = input->optional;
		tensor->allow_ragged_batch = input->allow_ragged_batch;
		tensor->is_shape_tensor = input->is_shape_tensor;
		config->has_ragged_input = config->has_ragged_input || input->allow_ragged_batch;
		if (!read_dims(config, input->dims, input->n_dims, &tensor->dims) ||
		    !read_reshape(config, input->reshape, tensor)) {
			return false;
		}
	}
	return config->inputs != NULL;
}

static bool
read_outputs(struct model_config *config, const document *from)
{
	config->output_count = from->n_output;
	config->outputs = arena_array(&config->arena, from->n_output, sizeof(*config->outputs));
	for (size_t i = 0; config->outputs != NULL && i < from->n_output; i++) {
		const Inference__ModelOutput *output = from->output[i];
		struct model_tensor *tensor = &config->outputs[i];

		tensor->name = text_of(config, output->name);
		tensor->datatype = (enum datatype)output->data_type;
		tensor->is_shape_tensor = output->is_shape_tensor;
		tensor->label_filename = text_of(config, output->label_filename);
		if (!read_dims(config, output->dims, output->n_dims, &tensor->dims) ||
		    !read_reshape(config, output->reshape, tensor)) {
			return false;
		}
	}
	return config->outputs != NULL;
}

static bool
read_version_policy(struct model_config *config, const Inference__ModelVersionPolicy *policy)
{
	struct model_dims versions;

	config->version_policy = MODEL_VERSIONS_LATEST;
	config->version_latest = 1;
	if (policy == NULL) {
		return true;
	}
	switch (policy->policy_choice_case) {
	case INFERENCE__MODEL_VERSION_POLICY__POLICY_CHOICE_LATEST:
		config->version_latest = policy->latest->num_versions == 0 ? 1 : policy->latest->num_versions;
		break;
	case INFERENCE__MODEL_VERSION_POLICY__POLICY_CHOICE_ALL:
		config->version_policy = MODEL_VERSIONS_ALL;
		break;
	case INFERENCE__MODEL_VERSION_POLICY__POLICY_CHOICE_SPECIFIC:
		config->version_policy = MODEL_VERSIONS_SPECIFIC;
		if (!read_dims(config, policy->specific->versions, policy->specific->n_versions, &versions)) {
			return false;
		}
		config->versions = versions.dims;
		config->version_count = versions.rank;
		break;
	default:
		break;
	}
	return true;
}

static bool
read_instance_groups(struct model_config *config, const document *from)
{
	config->instance_group_count = from->n_instance_group;
	config->instance_groups = arena_array(&config->arena, from->n_instance_group, sizeof(*config->instance_groups));
	for (size_t i = 0; config->instance_groups != NULL && i < from->n_instance_group; i++) {
		const Inference__ModelInstanceGroup *group = from->instance_group[i];

		config->instance_groups[i].name = text_of(config, group->name);
		config->instance_groups[i].kind = (unsigned)group->kind;
		config->instance_groups[i].count = group->count;
	}
	return config->instance_groups != NULL;
}

static bool
read_parameters(struct model_config *config, const document *from)
{
	config->parameter_count = from->n_parameters;
	config->parameters = arena_array(&config->arena, from->n_parameters, sizeof(*config->parameters));
	for (size_t i = 0; config->parameters != NULL && i < from->n_parameters; i++) {
		const Inference__ModelConfig__ParametersEntry *entry = from->parameters[i];

		config->parameters[i].name = text_of(config, entry->key);
		config->parameters[i].value = text_of(config, entry->value == NULL ? "" : entry->value->string_value);
	}
	return config->parameters != NULL;
}

static bool
read_warmup_input(struct model_config *config, const Inference__ModelWarmup__InputsEntry *from,
		  struct model_warmup_input *to)
{
	const Inference__ModelWarmup__Input *input = from->value;

	to->name = text_of(config, from->key);
	if (input == NULL) {
		return true;
	}
	to->datatype = (enum datatype)input->data_type;
	switch (input->input_data_type_case) {
	case INFERENCE__MODEL_WARMUP__INPUT__INPUT_DATA_TYPE_ZERO_DATA:
		to->kind = WARMUP_ZERO;
		break;
	case INFERENCE__MODEL_WARMUP__INPUT__INPUT_DATA_TYPE_RANDOM_DATA:
		to->kind = WARMUP_RANDOM;
		break;
	case INFERENCE__MODEL_WARMUP__INPUT__INPUT_DATA_TYPE_INPUT_DATA_FILE:
		to->kind = WARMUP_FILE;
		to->file = text_of(config, input->input_data_file);
		break;
	default:
		break;
	}
	return read_dims(config, input->dims, input->n_dims, &to->dims);
}

static bool
read_warmups(struct model_config *config, const document *from)
{
	config->warmup_count = from->n_model_warmup;
	config->warmups = arena_array(&config->arena, from->n_model_warmup, sizeof(*config->warmups));
	for (size_t i = 0; config->warmups != NULL && i < from->n_model_warmup; i++) {
		const Inference__ModelWarmup *sample = from->model_warmup[i];
		struct model_warmup *warmup = &config->warmups[i];

		warmup->name = text_of(config, sample->name);
		warmup->batch_size = sample->batch_size;
		warmup->count = sample->count;
		warmup->input_count = sample->n_inputs;
		warmup->inputs = arena_array(&config->arena, sample->n_inputs, sizeof(*warmup->inputs));
		for (size_t k = 0; k < sample->n_inputs; k++) {
			if (warmup->inputs == NULL ||
			    !read_warmup_input(config, sample->inputs[k], &warmup->inputs[k])) {
				return false;
			}
		}
	}
	return config->warmups != NULL;
}

static struct model_queue_policy
read_queue_policy(const Inference__ModelQueuePolicy *from)
{
	if (from == NULL) {
		return (struct model_queue_policy){0};
	}
	return (struct model_queue_policy){
		.delays = from->timeout_action == INFERENCE__MODEL_QUEUE_POLICY__TIMEOUT_ACTION__DELAY,
		.default_timeout_us = from->default_timeout_microseconds,
		.allow_timeout_override = from->allow_timeout_override,
		.max_queue_size = from->max_queue_size,
	};
}

static bool
read_batching(struct model_config *config, const Inference__ModelDynamicBatching *from)
{
	struct model_batching *to = &config->batching;

	*to = (struct model_batching){
		.preferred = arena_array(&config->arena, from->n_preferred_batch_size, sizeof(*to->preferred)),
		.preferred_count = from->n_preferred_batch_size,
		.max_queue_delay_us = from->max_queue_delay_microseconds,
		.preserve_ordering = from->preserve_ordering,
		.priority_levels = from->priority_levels,
		.default_priority_level = from->default_priority_level,
		.default_policy = read_queue_policy(from->default_queue_policy),
		.policies = arena_array(&config->arena, from->n_priority_queue_policy, sizeof(*to->policies)),
		.policy_count = from->n_priority_queue_policy,
	};
	if (to->preferred == NULL || to->policies == NULL) {
		return false;
	}
	for (size_t i = 0; i < to->preferred_count; i++) {
		to->preferred[i] = from->preferred_batch_size[i];
	}
	for (size_t i = 0; i < to->policy_count; i++) {
		to->policies[i].level = from->priority_queue_policy[i]->key;
		to->policies[i].policy = read_queue_policy(from->priority_queue_policy[i]->value);
	}
	return true;
}

static bool
read_mappings(struct model_config *config, ProtobufCMessage **from, size_t count, struct model_mapping **to)
{
	*to = arena_array(&config->arena, count, sizeof(**to));
	for (size_t i = 0; *to != NULL && i < count; i++) {
		/* the entries of input_map and output_map have the same layout */
		const Inference__ModelEnsembling__Step__InputMapEntry *entry = (const void *)from[i];

		(*to)[i].tensor = text_of(config, entry->key);
		(*to)[i].ensemble_tensor = text_of(config, entry->value);
	}
	return *to != NULL;
}

static bool
read_steps(struct model_config *config, const Inference__ModelEnsembling *from)
{
	config->max_inflight_requests = from->max_inflight_requests;
	config->step_count = from->n_step;
	config->steps = arena_array(&config->arena, from->n_step, sizeof(*config->steps));
	for (size_t i = 0; config->steps != NULL && i < from->n_step; i++) {
		const Inference__ModelEnsembling__Step *step = from->step[i];
		struct model_step *to = &config->steps[i];

		to->model = text_of(config, step->model_name);
		to->version = step->model_version;
		to->input_count = step->n_input_map;
		to->output_count = step->n_output_map;
		if (!read_mappings(config, (ProtobufCMessage **)step->input_map, step->n_input_map, &to->inputs) ||
		    !read_mappings(config, (ProtobufCMessage **)step->output_map, step->n_output_map, &to->outputs)) {
			return false;
		}
	}
	return config->steps != NULL;
}

static bool
read_scheduling(struct model_config *config, const document *from)
{
	switch (from->scheduling_choice_case) {
	case INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING:
		config->scheduling = MODEL_SCHEDULING_DYNAMIC;
		return read_batching(config, from->dynamic_batching);
	case INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_SEQUENCE_BATCHING:
		config->scheduling = MODEL_SCHEDULING_SEQUENCE;
		break;
	case INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_ENSEMBLE_SCHEDULING:
		config->scheduling = MODEL_SCHEDULING_ENSEMBLE;
		return read_steps(config, from->ensemble_scheduling);
	default:
		break;
	}
	return true;
}

static bool
read_document(struct model_config *config, document *from)
{
	config->name = text_of(config, from->name);
	config->platform = text_of(config, from->platform);
	config->backend = text_of(config, from->backend);
	config->default_model_filename = text_of(config, from->default_model_filename);
	config->max_batch_size = from->max_batch_size;
	config->states_max_batch_size =
		from->max_batch_size_statement_case == INFERENCE__MODEL_CONFIG__MAX_BATCH_SIZE_STATEMENT_MAX_BATCH_SIZE;
	config->response_cache = from->response_cache != NULL && from->response_cache->enable;
	config->states_response_cache = from->response_cache != NULL;
	config->decoupled = from->model_transaction_policy != NULL && from->model_transaction_policy->decoupled;
	if (from->model_repository_agents != NULL && from->model_repository_agents->n_agents > 0) {
		const char *agent = from->model_repository_agents->agents[0]->name;

		config->repository_agent = text_of(config, *agent == '\0' ? "without a name" : agent);
	}
	config->has_optimization = from->optimization != NULL;
	config->has_graph_level = from->optimization != NULL && from->optimization->graph != NULL;
	config->graph_level = config->has_graph_level ? from->optimization->graph->level : 0;
	if (from->optimization != NULL && from->optimization->execution_accelerators != NULL &&
	    from->optimization->execution_accelerators->n_cpu_execution_accelerator > 0) {
		config->cpu_accelerator =
			text_of(config, from->optimization->execution_accelerators->cpu_execution_accelerator[0]->name);
	}
	config->states_batching =
		config->max_batch_size > 0 ||
		from->scheduling_choice_case == INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING;
	return read_scheduling(config, from) && read_inputs(config, from) && read_outputs(config, from) &&
	       read_version_policy(config, from->version_policy) && read_instance_groups(config, from) &&
	       read_parameters(config, from) && read_warmups(config, from);
}

static enum status
parse(struct bytes text, const char *file, struct model_config *config, struct error *error)
{
	document *from = (document *)proto_message_new(&inference__model_config__descriptor);
	enum status status;

	*config = (struct model_config){.document = from, .document_free = free_document};
	arena_init(&config->arena, CONFIG_ARENA_MAX);
	if (from == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory to read the model configuration");
	}
	status = file == NULL ? proto_json_parse(text, &from->base, error)
			      : proto_text_parse(text, file, &from->base, error);
	if (status == STATUS_OK && !read_document(config, from)) {
		status = error_set(error, STATUS_UNAVAILABLE, "no memory to read the model configuration");
	}
	if (status != STATUS_OK) {
		model_config_fini(config);
	}
	return status;
}

enum status
model_config_parse_text(struct bytes text, const char *file, struct model_config *config, struct error *error)
{
	return parse(text, file, config, error);
}

enum status
model_config_parse_json(struct bytes text, struct model_config *config, struct error *error)
{
	return parse(text, NULL, config, error);
}

/* --- Struct to document: the results of auto-completion --- */

/* Returns the message that a pointer field points to; creates it if there is none. */
static void *
ensure(void *field, const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage **message = field;

	if (*message == NULL) {
		*message = proto_message_new(type);
	}
	return *message;
}

static bool
write_text(document *to, const char *field_name, struct bytes text)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(&inference__model_config__descriptor, field_name);
	char **slot = proto_slot(&to->base, field);

	if (*slot != field->default_value) {
		free(*slot);
	}
	return proto_set_string(slot, text);
}

static ProtobufCMessage *
append_message(ProtobufCMessage *to, const char *field_name)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(to->descriptor, field_name);
	ProtobufCMessage **slot = proto_slot(to, field);

	if (slot == NULL) {
		return NULL;
	}
	*slot = proto_message_new(field->descriptor);
	return *slot;
}

static bool
write_list(ProtobufCMessage *to, const char *field_name, const struct model_dims *dims)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(to->descriptor, field_name);

	for (size_t i = 0; i < dims->rank; i++) {
		int64_t *slot = proto_slot(to, field);

		if (slot == NULL) {
			return false;
		}
		*slot = dims->dims[i];
	}
	return true;
}

static bool
write_reshape(Inference__ModelTensorReshape **to, const struct model_tensor *tensor)
{
	if (!tensor->has_reshape) {
		return true;
	}
	return ensure(to, &inference__model_tensor_reshape__descriptor) != NULL &&
	       write_list(&(*to)->base, "shape", &tensor->reshape);
}

/* Auto-completion adds inputs or outputs only where the config has none at all. */
static bool
write_tensors(document *to, const struct model_config *config)
{
	for (size_t i = to->n_input; i < config->input_count; i++) {
		const struct model_tensor *tensor = &config->inputs[i];
		Inference__ModelInput *input = (Inference__ModelInput *)append_message(&to->base, "input");

		if (input == NULL || !proto_set_string(&input->name, tensor->name) ||
		    !write_list(&input->base, "dims", &tensor->dims) || !write_reshape(&input->reshape, tensor)) {
			return false;
		}
		input->data_type = (Inference__DataType)tensor->datatype;
		input->optional = tensor->optional;
	}
	for (size_t i = to->n_output; i < config->output_count; i++) {
		const struct model_tensor *tensor = &config->outputs[i];
		Inference__ModelOutput *output = (Inference__ModelOutput *)append_message(&to->base, "output");

		if (output == NULL || !proto_set_string(&output->name, tensor->name) ||
		    !write_list(&output->base, "dims", &tensor->dims) || !write_reshape(&output->reshape, tensor)) {
			return false;
		}
		output->data_type = (Inference__DataType)tensor->datatype;
	}
	return true;
}

static bool
write_instance_groups(document *to, const struct model_config *config)
{
	for (size_t i = 0; i < config->instance_group_count; i++) {
		const struct model_instance_group *from = &config->instance_groups[i];
		Inference__ModelInstanceGroup *group;

		group = i < to->n_instance_group
				? to->instance_group[i]
				: (Inference__ModelInstanceGroup *)append_message(&to->base, "instance_group");
		if (group == NULL) {
			return false;
		}
		if (group->name == NULL || *group->name == '\0') {
			if (!proto_set_string(&group->name, from->name)) {
				return false;
			}
		}
		group->kind = (Inference__ModelInstanceGroup__Kind)from->kind;
		group->count = from->count;
	}
	return true;
}

static bool
write_version_policy(document *to, const struct model_config *config)
{
	Inference__ModelVersionPolicy *policy =
		ensure(&to->version_policy, &inference__model_version_policy__descriptor);

	if (policy == NULL) {
		return false;
	}
	if (config->version_policy != MODEL_VERSIONS_LATEST) {
		return true;
	}
	policy->policy_choice_case = INFERENCE__MODEL_VERSION_POLICY__POLICY_CHOICE_LATEST;
	if (ensure(&policy->latest, &inference__model_version_policy__latest__descriptor) == NULL) {
		return false;
	}
	policy->latest->num_versions = config->version_latest;
	return true;
}

static bool
write_pinned_memory(Inference__ModelOptimizationPolicy__PinnedMemoryBuffer **buffer)
{
	if (*buffer == NULL) {
		if (ensure(buffer, &inference__model_optimization_policy__pinned_memory_buffer__descriptor) == NULL) {
			return false;
		}
		(*buffer)->enable = 1;
	}
	return true;
}

static bool
write_preferred(Inference__ModelDynamicBatching *to, const struct model_config *config)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(to->base.descriptor, "preferred_batch_size");

	for (size_t i = to->n_preferred_batch_size; i < config->batching.preferred_count; i++) {
		int32_t *slot = proto_slot(&to->base, field);

		if (slot == NULL) {
			return false;
		}
		*slot = config->batching.preferred[i];
	}
	return true;
}

static bool
write_scheduling(document *to, const struct model_config *config)
{
	if (config->scheduling != MODEL_SCHEDULING_DYNAMIC) {
		return true;
	}
	if (to->scheduling_choice_case != INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING) {
		to->scheduling_choice_case = INFERENCE__MODEL_CONFIG__SCHEDULING_CHOICE_DYNAMIC_BATCHING;
		to->dynamic_batching = NULL;
	}
	return ensure(&to->dynamic_batching, &inference__model_dynamic_batching__descriptor) != NULL &&
	       write_preferred(to->dynamic_batching, config);
}

/* Triton prints the transaction policy of an ensemble, and the optimization policy of any other model. */
static bool
write_policies(document *to, const struct model_config *config)
{
	if (config->scheduling == MODEL_SCHEDULING_ENSEMBLE) {
		return ensure(&to->model_transaction_policy, &inference__model_transaction_policy__descriptor) != NULL;
	}
	return ensure(&to->optimization, &inference__model_optimization_policy__descriptor) != NULL &&
	       write_pinned_memory(&to->optimization->input_pinned_memory) &&
	       write_pinned_memory(&to->optimization->output_pinned_memory);
}

enum status
model_config_completed(struct model_config *config, struct error *error)
{
	document *to = config->document;
	bool good = write_text(to, "name", config->name) && write_text(to, "platform", config->platform) &&
		    write_text(to, "backend", config->backend) &&
		    write_text(to, "default_model_filename", config->default_model_filename) &&
		    write_tensors(to, config) && write_instance_groups(to, config) &&
		    write_version_policy(to, config) && write_scheduling(to, config) && write_policies(to, config);

	if (!good) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the model configuration");
	}
	to->max_batch_size_statement_case = INFERENCE__MODEL_CONFIG__MAX_BATCH_SIZE_STATEMENT_MAX_BATCH_SIZE;
	to->max_batch_size = config->max_batch_size;
	return STATUS_OK;
}

void
model_config_print(const struct model_config *config, struct buf *out)
{
	proto_json_print(&((const document *)config->document)->base, out);
}
