#include "wire/infer_body.h"

#include "wire/infer_document.h"
#include "wire/tensor_json.h"

#include <stdlib.h>

#define DOCUMENT_VALUE ((size_t)16) /* bytes of a yyjson_val */
#define PARAMETERS_MAX 1024	    /* bounds the search for duplicates, which is quadratic */

struct decoder {
	struct tensor_decoder tensors;
	struct arena *arena;
	struct infer_body *body;
	struct error *error;
};

static enum status
no_memory(struct decoder *decoder)
{
	return error_set(decoder->error, STATUS_UNAVAILABLE, "no memory for the request's tensors");
}

/* --- Inputs --- */

static enum status
decode_inputs(struct decoder *decoder, yyjson_val *root)
{
	struct infer_body *body = decoder->body;
	yyjson_arr_iter items;
	yyjson_val *array;
	yyjson_val *item;
	enum status status = json_get_array(root, "inputs", &array, decoder->error);

	if (status != STATUS_OK) {
		return status;
	}
	body->inputs = arena_array(decoder->arena, yyjson_arr_size(array), sizeof(*body->inputs));
	if (body->inputs == NULL) {
		return no_memory(decoder);
	}
	items = yyjson_arr_iter_with(array);
	while ((item = yyjson_arr_iter_next(&items)) != NULL) {
		status = tensor_decode(&decoder->tensors, item, &body->inputs[body->input_count++]);
		if (status != STATUS_OK) {
			return status;
		}
	}
	body->wraps = decoder->tensors.wraps;
	if (decoder->tensors.binary.length > 0) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "unexpected additional input data for model '%.*s'",
				 BYTES_ARGS(decoder->tensors.model_name));
	}
	return STATUS_OK;
}

/* --- Outputs --- */

static enum status
decode_output(struct decoder *decoder, yyjson_val *item, struct infer_body_output *output)
{
	yyjson_val *parameters = yyjson_obj_get(item, "parameters");
	yyjson_val *binary = yyjson_obj_get(parameters, "binary_data");
	yyjson_val *classification = yyjson_obj_get(parameters, "classification");
	enum status status = json_get_string(item, "name", &output->name, decoder->error);
	uint64_t classes = 0;

	output->binary = decoder->body->binary_by_default;
	if (status == STATUS_OK && binary != NULL) {
		status = json_as_boolean(binary, "binary_data", &output->binary, decoder->error);
	}
	if (status == STATUS_OK && classification != NULL) {
		if (!yyjson_is_uint(classification)) {
			return error_set(decoder->error, STATUS_INTERNAL,
					 "Unable to set 'classification': attempt to access JSON non-unsigned-integer "
					 "as unsigned-integer");
		}
		classes = yyjson_get_uint(classification);
		output->classification = classes > UINT32_MAX ? UINT32_MAX : (uint32_t)classes;
	}
	if (status == STATUS_OK && yyjson_obj_get(parameters, "shared_memory_region") != NULL) {
		return error_set(decoder->error, STATUS_UNSUPPORTED,
				 "shared memory is not supported: output '%.*s' can only come in the response",
				 BYTES_ARGS(output->name));
	}
	return status;
}

static enum status
decode_outputs(struct decoder *decoder, yyjson_val *root)
{
	struct infer_body *body = decoder->body;
	yyjson_val *array = yyjson_obj_get(root, "outputs");
	yyjson_arr_iter items;
	yyjson_val *item;

	if (array == NULL) {
		return STATUS_OK;
	}
	if (!yyjson_is_arr(array)) {
		return json_wrong_type("outputs", "array", decoder->error);
	}
	body->outputs = arena_array(decoder->arena, yyjson_arr_size(array), sizeof(*body->outputs));
	if (body->outputs == NULL) {
		return no_memory(decoder);
	}
	items = yyjson_arr_iter_with(array);
	while ((item = yyjson_arr_iter_next(&items)) != NULL) {
		enum status status = decode_output(decoder, item, &body->outputs[body->output_count++]);

		if (status != STATUS_OK) {
			return status;
		}
	}
	return STATUS_OK;
}

/* --- Parameters --- */

static enum status
decode_parameter(struct decoder *decoder, struct bytes name, yyjson_val *value, struct parameter *parameter)
{
	parameter->name = name;
	if (bytes_starts_with(name, "triton_")) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "parameter keys starting with 'triton_' are reserved for Triton usage and should not "
				 "be specified.");
	}
	if (yyjson_is_str(value)) {
		parameter->kind = PARAMETER_TEXT;
		parameter->text = json_bytes(value);
	} else if (yyjson_is_bool(value)) {
		parameter->kind = PARAMETER_BOOLEAN;
		parameter->boolean = yyjson_get_bool(value);
	} else if (yyjson_is_real(value)) {
		parameter->kind = PARAMETER_DOUBLE;
		parameter->number = yyjson_get_real(value);
	} else if (yyjson_is_uint(value) && yyjson_get_uint(value) > INT64_MAX) {
		parameter->kind = PARAMETER_UNSIGNED;
		parameter->unsigned_number = yyjson_get_uint(value);
	} else if (yyjson_is_int(value)) {
		parameter->kind = PARAMETER_SIGNED;
		parameter->signed_number = yyjson_get_sint(value);
	} else {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "parameter '%.*s' has invalid type. It should be either 'int', 'bool', or 'string'.",
				 BYTES_ARGS(name));
	}
	return STATUS_OK;
}

/* Parameters that the protocol defines have fixed types. */
static enum status
check_standard_type(struct decoder *decoder, struct bytes name, yyjson_val *value)
{
	bool boolean;
	uint64_t number;

	if (bytes_equal_text(name, "sequence_id") && !yyjson_is_uint(value) && !yyjson_is_str(value)) {
		return json_wrong_type("sequence_id", "string", decoder->error);
	}
	if (bytes_equal_text(name, "sequence_start")) {
		return json_as_boolean(value, "sequence_start", &boolean, decoder->error);
	}
	if (bytes_equal_text(name, "sequence_end")) {
		return json_as_boolean(value, "sequence_end", &boolean, decoder->error);
	}
	if (bytes_equal_text(name, "priority")) {
		return json_as_unsigned(value, "priority", &number, decoder->error);
	}
	if (bytes_equal_text(name, "timeout")) {
		return json_as_unsigned(value, "timeout", &number, decoder->error);
	}
	return STATUS_OK;
}

static enum status
decode_parameters(struct decoder *decoder, yyjson_val *root)
{
	struct infer_body *body = decoder->body;
	yyjson_val *object = yyjson_obj_get(root, "parameters");
	enum status status = STATUS_OK;
	yyjson_obj_iter items;
	yyjson_val *key;

	if (object == NULL) {
		return STATUS_OK;
	}
	if (!yyjson_is_obj(object)) {
		return json_wrong_type("parameters", "object", decoder->error);
	}
	if (yyjson_obj_size(object) > PARAMETERS_MAX) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "request has %zu parameters, the maximum is %d", yyjson_obj_size(object),
				 PARAMETERS_MAX);
	}
	body->parameters = arena_array(decoder->arena, yyjson_obj_size(object), sizeof(*body->parameters));
	if (body->parameters == NULL) {
		return no_memory(decoder);
	}
	items = yyjson_obj_iter_with(object);
	while (status == STATUS_OK && (key = yyjson_obj_iter_next(&items)) != NULL) {
		yyjson_val *value = yyjson_obj_iter_get_val(key);
		struct bytes name = json_bytes(key);

		if (yyjson_obj_getn(object, (const char *)name.at, name.length) != value) {
			continue; /* a duplicate: the first one wins */
		}
		if (bytes_equal_text(name, "binary_data_output")) {
			status = json_as_boolean(value, "binary_data_output", &body->binary_by_default, decoder->error);
			continue;
		}
		status = check_standard_type(decoder, name, value);
		if (status == STATUS_OK) {
			status = decode_parameter(decoder, name, value, &body->parameters[body->parameter_count++]);
		}
	}
	return status;
}

/* Bounds the number of values: a ',', '[', '{' or ':' precedes each but the root. */
size_t
infer_body_memory(struct bytes json)
{
	size_t values = 1;

	for (size_t i = 0; i < json.length; i++) {
		uint8_t byte = json.at[i];

		values += byte == ',' || byte == '[' || byte == '{' || byte == ':';
	}
	return json.length + values * (DOCUMENT_VALUE + sizeof(uint64_t));
}

enum status
infer_body_decode(struct bytes json, struct bytes binary, struct bytes model_name, struct arena *arena,
		  struct infer_body *body, struct error *error)
{
	struct decoder decoder = {
		.tensors = {.binary = binary, .model_name = model_name, .arena = arena, .error = error},
		.arena = arena,
		.body = body,
		.error = error,
	};
	yyjson_doc *document = json_read(json, error);
	enum status status = STATUS_OK;
	yyjson_val *root;
	yyjson_val *id;

	*body = (struct infer_body){.document = document};
	if (document == NULL) {
		return error->status;
	}
	root = yyjson_doc_get_root(document);
	id = yyjson_obj_get(root, "id");
	if (id != NULL) {
		status = json_as_string(id, "id", &body->id, error);
	}
	if (status == STATUS_OK) {
		status = decode_parameters(&decoder, root);
	}
	if (status == STATUS_OK) {
		status = decode_inputs(&decoder, root);
	}
	if (status == STATUS_OK) {
		status = decode_outputs(&decoder, root);
	}
	if (status != STATUS_OK) {
		infer_body_fini(body);
	}
	return status;
}

static bool
has_duplicates(yyjson_val *object)
{
	yyjson_obj_iter items = yyjson_obj_iter_with(object);
	yyjson_val *key;

	while ((key = yyjson_obj_iter_next(&items)) != NULL) {
		struct bytes name = json_bytes(key);

		if (yyjson_obj_getn(object, (const char *)name.at, name.length) != yyjson_obj_iter_get_val(key)) {
			return true;
		}
	}
	return false;
}

static bool
are_plain(yyjson_val *array, const char *const *members, const char *const *parameters)
{
	yyjson_arr_iter items = yyjson_arr_iter_with(array);
	yyjson_val *item;

	while ((item = yyjson_arr_iter_next(&items)) != NULL) {
		if (json_has_others(item, members) || json_has_others(yyjson_obj_get(item, "parameters"), parameters)) {
			return false;
		}
	}
	return true;
}

/* Is each input's content type, where it states one, one that a tensor can have? */
static bool
have_content_types(yyjson_val *inputs)
{
	yyjson_arr_iter items = yyjson_arr_iter_with(inputs);
	yyjson_val *item;

	while ((item = yyjson_arr_iter_next(&items)) != NULL) {
		if (!tensor_has_content_type(item)) {
			return false;
		}
	}
	return true;
}

/* Has the request nothing but what is known, and these parameters of outputs? */
static bool
has_only(const struct infer_body *body, const char *const *output_parameters)
{
	static const char *const members[] = {"id", "parameters", "inputs", "outputs", NULL};
	static const char *const input_members[] = {"name", "datatype", "shape", "data", "parameters", NULL};
	static const char *const input_parameters[] = {"binary_data_size", "content_type", NULL};
	static const char *const output_members[] = {"name", "parameters", NULL};
	yyjson_val *root = yyjson_doc_get_root(body->document);

	return !json_has_others(root, members) && !has_duplicates(yyjson_obj_get(root, "parameters")) &&
	       are_plain(yyjson_obj_get(root, "inputs"), input_members, input_parameters) &&
	       have_content_types(yyjson_obj_get(root, "inputs")) &&
	       are_plain(yyjson_obj_get(root, "outputs"), output_members, output_parameters);
}

bool
infer_body_is_plain(const struct infer_body *body)
{
	static const char *const output_parameters[] = {"binary_data", NULL};

	return body->shared != NULL ? body->shared->is_plain : has_only(body, output_parameters);
}

bool
infer_body_is_understood(const struct infer_body *body)
{
	static const char *const output_parameters[] = {"binary_data", "classification", NULL};

	return has_only(body, output_parameters);
}

static bool
copy(struct bytes *text, struct arena *arena)
{
	if (text->length > 0) {
		*text = arena_copy(arena, *text);
	}
	return text->length == 0 || text->at != NULL;
}

bool
infer_body_detach(struct infer_body *body, struct arena *arena)
{
	bool good = copy(&body->id, arena);

	for (size_t i = 0; i < body->input_count && good; i++) {
		good = copy(&body->inputs[i].name, arena) && copy(&body->inputs[i].content_type, arena);
	}
	for (size_t i = 0; i < body->output_count && good; i++) {
		good = copy(&body->outputs[i].name, arena);
	}
	for (size_t i = 0; i < body->parameter_count && good; i++) {
		struct parameter *parameter = &body->parameters[i];

		good = copy(&parameter->name, arena) &&
		       (parameter->kind != PARAMETER_TEXT || copy(&parameter->text, arena));
	}
	infer_body_fini(body);
	return good;
}

void
infer_body_fini(struct infer_body *body)
{
	yyjson_doc_free(body->document);
	infer_document_unref(body->shared);
	body->document = NULL;
	body->shared = NULL;
}

void
infer_document_unref(struct infer_document *document)
{
	if (document != NULL && atomic_fetch_sub(&document->references, 1) == 1) {
		infer_body_fini(&document->body);
		arena_fini(&document->arena);
		free(document);
	}
}
