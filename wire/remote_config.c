#include "wire/remote_config.h"

#include "model_config.pb-c.h"
#include "wire/model_config.h"
#include "wire/proto.h"

#include <stdlib.h>

typedef Inference__ModelConfig document;

static bool
is_reserved(const Inference__ModelConfig__ParametersEntry *entry)
{
	return bytes_starts_with(bytes_text(entry->key), MODEL_OWN_PARAMETER);
}

static void
drop_reserved(document *config)
{
	size_t kept = 0;

	for (size_t i = 0; i < config->n_parameters; i++) {
		if (is_reserved(config->parameters[i])) {
			protobuf_c_message_free_unpacked(&config->parameters[i]->base, NULL);
		} else {
			config->parameters[kept++] = config->parameters[i];
		}
	}
	config->n_parameters = kept;
}

static bool
add_parameter(document *config, struct bytes name, struct bytes value)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(config->base.descriptor, "parameters");
	Inference__ModelConfig__ParametersEntry **slot = proto_slot(&config->base, field);
	Inference__ModelParameter *parameter;

	if (slot == NULL) {
		return false;
	}
	*slot = (Inference__ModelConfig__ParametersEntry *)proto_message_new(
		&inference__model_config__parameters_entry__descriptor);
	if (*slot == NULL) {
		config->n_parameters--;
		return false;
	}
	parameter = (Inference__ModelParameter *)proto_message_new(&inference__model_parameter__descriptor);
	(*slot)->value = parameter;
	return parameter != NULL && proto_set_string(&(*slot)->key, name) &&
	       proto_set_string(&parameter->string_value, value);
}

/* Both messages are freed by the same allocator, so that parts may move between them. */
static void
take_tensors(document *own, document *behind)
{
	if (own->n_input == 0) {
		own->n_input = behind->n_input;
		own->input = behind->input;
		behind->n_input = 0;
		behind->input = NULL;
	}
	if (own->n_output == 0) {
		own->n_output = behind->n_output;
		own->output = behind->output;
		behind->n_output = 0;
		behind->output = NULL;
	}
}

static bool
take_batching(document *own, const document *behind)
{
	if (own->max_batch_size_statement_case == INFERENCE__MODEL_CONFIG__MAX_BATCH_SIZE_STATEMENT_MAX_BATCH_SIZE) {
		return true;
	}
	own->max_batch_size_statement_case = INFERENCE__MODEL_CONFIG__MAX_BATCH_SIZE_STATEMENT_MAX_BATCH_SIZE;
	own->max_batch_size = behind->max_batch_size;
	return add_parameter(own, bytes_text(MODEL_GUESSED_BATCHING), bytes_text("true"));
}

static bool
take_marks(document *own, const document *behind)
{
	for (size_t i = 0; i < behind->n_parameters; i++) {
		const Inference__ModelConfig__ParametersEntry *entry = behind->parameters[i];

		if (is_reserved(entry) && strcmp(entry->key, MODEL_GUESSED_BATCHING) != 0 &&
		    !add_parameter(own, bytes_text(entry->key),
				   bytes_text(entry->value == NULL ? "" : entry->value->string_value))) {
			return false;
		}
	}
	return true;
}

static enum status
complete(document *own, const struct remote_config *remote, struct error *error)
{
	struct model_config behind;
	bool states_nothing = own->n_input == 0 || own->n_output == 0;
	bool good = true;

	if (remote->behind.length == 0) {
		return STATUS_OK;
	}
	if (model_config_parse_json(remote->behind, &behind, error) != STATUS_OK) {
		return error->status;
	}
	if (remote->completes && states_nothing) {
		take_tensors(own, behind.document);
		good = take_batching(own, behind.document);
	}
	good = good && take_marks(own, behind.document);
	model_config_fini(&behind);
	return good ? STATUS_OK : error_set(error, STATUS_UNAVAILABLE, "no memory for the model configuration");
}

static bool
forbid_caching(document *own)
{
	if (own->response_cache == NULL) {
		own->response_cache = (Inference__ModelResponseCache *)proto_message_new(
			&inference__model_response_cache__descriptor);
	}
	if (own->response_cache != NULL) {
		own->response_cache->enable = false;
	}
	return own->response_cache != NULL;
}

enum status
remote_config_write(struct model_config *own, const struct remote_config *remote, struct buf *json, struct error *error)
{
	document *config = own->document;
	enum status status;
	bool good;

	drop_reserved(config);
	status = complete(config, remote, error);
	if (status != STATUS_OK) {
		return status;
	}
	good = remote->is_cached || forbid_caching(config);
	for (size_t i = 0; good && i < remote->mark_count; i++) {
		good = add_parameter(config, remote->marks[i].name, remote->marks[i].value);
	}
	if (good) {
		model_config_print(own, json);
	}
	return good && buf_ok(json) ? STATUS_OK
				    : error_set(error, STATUS_UNAVAILABLE, "no memory for the model configuration");
}

/* --- What differs --- */

static void
separate(struct buf *text)
{
	buf_text(text, text->length > 0 ? "; " : "");
}

static void
write_tensor(struct buf *text, const struct model_tensor *tensor)
{
	char shape[200];

	shape_text(tensor->dims.dims, tensor->dims.rank, shape, sizeof(shape));
	buf_format(text, "%s %s", datatype_config_name(tensor->datatype), shape);
}

static bool
fits(const struct model_dims *own, const struct model_dims *behind)
{
	if (own->rank != behind->rank) {
		return false;
	}
	for (size_t i = 0; i < own->rank; i++) {
		if (own->dims[i] >= 0 && behind->dims[i] >= 0 && own->dims[i] != behind->dims[i]) {
			return false;
		}
	}
	return true;
}

static void
compare_tensors(const char *kind, const struct model_tensor *own, size_t own_count, const struct model_tensor *behind,
		size_t behind_count, struct buf *text)
{
	for (size_t i = 0; i < own_count; i++) {
		ptrdiff_t at = model_tensor_index(behind, behind_count, own[i].name);

		if (at < 0) {
			separate(text);
			buf_format(text, "it has no %s '%.*s'", kind, BYTES_ARGS(own[i].name));
		} else if (own[i].datatype != behind[at].datatype || !fits(&own[i].dims, &behind[at].dims)) {
			separate(text);
			buf_format(text, "%s '%.*s' is ", kind, BYTES_ARGS(own[i].name));
			write_tensor(text, &behind[at]);
			buf_text(text, " there, and ");
			write_tensor(text, &own[i]);
			buf_text(text, " here");
		}
	}
}

void
remote_config_compare(const struct model_config *own, struct bytes behind, struct buf *text)
{
	struct model_config there;
	struct error error;

	if (behind.length == 0 || model_config_parse_json(behind, &there, &error) != STATUS_OK) {
		return;
	}
	/* Shapes with and without a batch dimension do not compare. */
	if (own->input_count + own->output_count > 0 && (own->max_batch_size > 0) != (there.max_batch_size > 0)) {
		buf_format(text, "max_batch_size is %d there, and %d here", there.max_batch_size, own->max_batch_size);
	} else {
		compare_tensors("input", own->inputs, own->input_count, there.inputs, there.input_count, text);
		compare_tensors("output", own->outputs, own->output_count, there.outputs, there.output_count, text);
		if (own->max_batch_size > there.max_batch_size) {
			separate(text);
			buf_format(text, "max_batch_size is %d there, and %d here", there.max_batch_size,
				   own->max_batch_size);
		}
	}
	model_config_fini(&there);
}
