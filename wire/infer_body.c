#include "wire/infer_body.h"

#include "wire/json.h"

#include <inttypes.h>

#define DATA_NESTING_MAX 100
#define DOCUMENT_VALUE ((size_t)16) /* bytes of a yyjson_val */
#define PARAMETERS_MAX 1024	    /* bounds the search for duplicates, which is quadratic */

struct decoder {
	struct bytes binary; /* the part that no tensor has taken yet */
	struct bytes model_name;
	struct arena *arena;
	struct infer_body *body;
	struct error *error;
};

static enum status
no_memory(struct decoder *decoder)
{
	return error_set(decoder->error, STATUS_UNAVAILABLE, "no memory for the request's tensors");
}

/* --- The `data` member: numbers or strings, nested in any way; only their order matters --- */

struct data_sink {
	enum datatype datatype;
	uint8_t *at;   /* NULL: only count */
	int64_t count; /* elements */
	size_t length; /* bytes, for BYTES */
	struct error *error;
};

static void
store(struct data_sink *sink, const void *value, size_t size)
{
	if (sink->at != NULL) {
		memcpy(sink->at, value, size);
		sink->at += size;
	}
}

static enum status
no_number(struct data_sink *sink)
{
	return error_set(sink->error, STATUS_INTERNAL,
			 "Unable to parse 'data': attempt to access JSON non-number as double");
}

static enum status
take_integer(struct data_sink *sink, yyjson_val *value)
{
	bool is_signed = sink->datatype >= DATATYPE_INT8 && sink->datatype <= DATATYPE_INT64;
	uint64_t bits = yyjson_get_uint(value); /* a negative number's two's complement */

	if (is_signed && (!yyjson_is_int(value) || (yyjson_is_uint(value) && bits > INT64_MAX))) {
		return json_wrong_type("data", "signed-integer", sink->error);
	}
	if (!is_signed && !yyjson_is_uint(value)) {
		return json_wrong_type("data", "unsigned-integer", sink->error);
	}
	store(sink, &bits, datatype_size(sink->datatype)); /* truncates to the low bytes, as Triton does */
	return STATUS_OK;
}

static enum status
take_element(struct data_sink *sink, yyjson_val *value)
{
	sink->count++;
	switch (sink->datatype) {
	case DATATYPE_BOOL: {
		uint8_t byte = yyjson_is_true(value);

		if (!yyjson_is_bool(value)) {
			return json_wrong_type("data", "boolean", sink->error);
		}
		store(sink, &byte, sizeof(byte));
		return STATUS_OK;
	}
	case DATATYPE_FP32: {
		float number = (float)yyjson_get_num(value);

		if (!yyjson_is_num(value)) {
			return no_number(sink);
		}
		store(sink, &number, sizeof(number));
		return STATUS_OK;
	}
	case DATATYPE_FP64: {
		double number = yyjson_get_num(value);

		if (!yyjson_is_num(value)) {
			return no_number(sink);
		}
		store(sink, &number, sizeof(number));
		return STATUS_OK;
	}
	case DATATYPE_BYTES: {
		struct bytes text = json_bytes(value);
		uint32_t length = (uint32_t)text.length;

		if (!yyjson_is_str(value)) {
			return error_set(
				sink->error, STATUS_INTERNAL,
				"Unable to parse JSON bytes array: attempt to access JSON non-string as string");
		}
		store(sink, &length, sizeof(length));
		store(sink, text.at, text.length);
		sink->length += sizeof(length) + text.length;
		return STATUS_OK;
	}
	default:
		return take_integer(sink, value);
	}
}

static enum status
walk_data(struct data_sink *sink, yyjson_val *array, int depth)
{
	yyjson_arr_iter items = yyjson_arr_iter_with(array);
	enum status status = STATUS_OK;
	yyjson_val *item;

	if (depth > DATA_NESTING_MAX) {
		return error_set(sink->error, STATUS_INVALID_ARGUMENT,
				 "JSON 'data' is nested deeper than the maximum of %d levels", DATA_NESTING_MAX);
	}
	while (status == STATUS_OK && (item = yyjson_arr_iter_next(&items)) != NULL) {
		status = yyjson_is_arr(item) ? walk_data(sink, item, depth + 1) : take_element(sink, item);
	}
	return status;
}

static enum status
decode_json_data(struct decoder *decoder, yyjson_val *data, struct tensor *tensor)
{
	struct data_sink sink = {.datatype = tensor->datatype, .error = decoder->error};
	enum status status;
	int64_t elements;
	uint8_t *at;

	if (!yyjson_is_arr(data)) {
		return json_wrong_type("data", "array", decoder->error);
	}
	if (tensor->datatype == DATATYPE_INVALID) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT, "invalid datatype for input %.*s",
				 BYTES_ARGS(tensor->name));
	}
	if (tensor->datatype == DATATYPE_FP16 || tensor->datatype == DATATYPE_BF16) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "receiving %s data via JSON is not supported. Please use the binary data format for "
				 "input %.*s",
				 datatype_name(tensor->datatype), BYTES_ARGS(tensor->name));
	}
	if (!shape_elements(tensor->shape, tensor->rank, &elements)) {
		return shape_too_large(tensor->name, tensor->shape, tensor->rank, decoder->error);
	}
	status = walk_data(&sink, data, 1);
	if (status != STATUS_OK) {
		return status;
	}
	if (tensor->datatype != DATATYPE_BYTES) {
		if (elements != sink.count) {
			return error_set(decoder->error, STATUS_INTERNAL,
					 elements < sink.count ? "Unable to parse 'data': Shape does not match true "
								 "shape of 'data' field"
							       : "Failed to parse 'data' field: shape does not match "
								 "true shape");
		}
		sink.length = (size_t)sink.count * datatype_size(tensor->datatype);
	}
	at = arena_get(decoder->arena, sink.length);
	if (at == NULL) {
		return no_memory(decoder);
	}
	tensor->data = bytes_make(at, sink.length);
	sink = (struct data_sink){.datatype = tensor->datatype, .error = decoder->error, .at = at};
	return walk_data(&sink, data, 1);
}

/* --- Inputs --- */

static enum status
take_binary(struct decoder *decoder, uint64_t size, struct tensor *tensor)
{
	if (size > decoder->binary.length) {
		return error_set(
			decoder->error, STATUS_INVALID_ARGUMENT,
			"unexpected size for input '%.*s', expecting %" PRIu64 " additional bytes for model '%.*s'",
			BYTES_ARGS(tensor->name), size - decoder->binary.length, BYTES_ARGS(decoder->model_name));
	}
	tensor->data = bytes_make(decoder->binary.at, size);
	decoder->binary = bytes_skip(decoder->binary, size);
	return STATUS_OK;
}

static enum status
decode_input_data(struct decoder *decoder, yyjson_val *input, struct tensor *tensor)
{
	yyjson_val *parameters = yyjson_obj_get(input, "parameters");
	yyjson_val *data = yyjson_obj_get(input, "data");
	yyjson_val *size = yyjson_obj_get(parameters, "binary_data_size");
	yyjson_val *region = yyjson_obj_get(parameters, "shared_memory_region");
	enum status status;
	uint64_t bytes;

	if ((data != NULL) + (size != NULL) + (region != NULL) != 1) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "Input must set only one of the following fields: 'data', 'binary_data_size' in "
				 "'parameters', 'shared_memory_region' in 'parameters'. But %s%s%s%s",
				 data == NULL && size == NULL && region == NULL ? "no field is set" : "set",
				 data != NULL ? " 'data'" : "", size != NULL ? " 'binary_data_size'" : "",
				 region != NULL ? " 'shared_memory_region'" : "");
	}
	if (region != NULL) {
		return error_set(decoder->error, STATUS_UNSUPPORTED,
				 "shared memory is not supported: send the data of input '%.*s' in the request",
				 BYTES_ARGS(tensor->name));
	}
	if (data != NULL) {
		return decode_json_data(decoder, data, tensor);
	}
	status = json_as_unsigned(size, "binary_data_size", &bytes, decoder->error);
	return status == STATUS_OK ? take_binary(decoder, bytes, tensor) : status;
}

static enum status
decode_shape(struct decoder *decoder, yyjson_val *input, struct tensor *tensor)
{
	yyjson_val *array;
	enum status status = json_get_array(input, "shape", &array, decoder->error);
	int64_t *shape;

	if (status != STATUS_OK) {
		return status;
	}
	tensor->rank = yyjson_arr_size(array);
	if (tensor->rank > TENSOR_RANK_MAX) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "shape of input '%.*s' has %zu dimensions, the maximum is %d",
				 BYTES_ARGS(tensor->name), tensor->rank, TENSOR_RANK_MAX);
	}
	shape = arena_array(decoder->arena, tensor->rank, sizeof(*shape));
	if (shape == NULL) {
		return no_memory(decoder);
	}
	tensor->shape = shape;
	for (size_t i = 0; i < tensor->rank; i++) {
		uint64_t dim;

		status = json_as_unsigned(yyjson_arr_get(array, i), "shape", &dim, decoder->error);
		if (status != STATUS_OK) {
			return status;
		}
		if (dim > INT64_MAX) {
			return json_wrong_type("shape", "unsigned-integer", decoder->error);
		}
		shape[i] = (int64_t)dim;
	}
	return STATUS_OK;
}

static enum status
decode_input(struct decoder *decoder, yyjson_val *input, struct tensor *tensor)
{
	struct bytes datatype;
	enum status status = json_get_string(input, "name", &tensor->name, decoder->error);

	if (status == STATUS_OK) {
		status = json_get_string(input, "datatype", &datatype, decoder->error);
	}
	if (status != STATUS_OK) {
		return status;
	}
	tensor->datatype = datatype_from_name(datatype);
	status = decode_shape(decoder, input, tensor);
	return status == STATUS_OK ? decode_input_data(decoder, input, tensor) : status;
}

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
		status = decode_input(decoder, item, &body->inputs[body->input_count++]);
		if (status != STATUS_OK) {
			return status;
		}
	}
	if (decoder->binary.length > 0) {
		return error_set(decoder->error, STATUS_INVALID_ARGUMENT,
				 "unexpected additional input data for model '%.*s'", BYTES_ARGS(decoder->model_name));
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
		.binary = binary, .model_name = model_name, .arena = arena, .body = body, .error = error};
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
		good = copy(&body->inputs[i].name, arena);
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
	body->document = NULL;
}
