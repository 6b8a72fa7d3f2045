#include "wire/tensor_json.h"

#include <inttypes.h>

#define DATA_NESTING_MAX 100

static enum status
no_memory(struct tensor_decoder *decoder)
{
	return error_set(decoder->error, STATUS_UNAVAILABLE, "no memory for the request's tensors");
}

/* --- The `data` member: numbers or strings, nested in any way; only their order matters --- */

struct data_sink {
	enum datatype datatype;
	uint8_t *at;   /* NULL: only count */
	int64_t count; /* elements */
	size_t length; /* bytes, for BYTES */
	bool wraps;
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

/* `bits` is a number or, if it is negative, its two's complement. */
static bool
fits(uint64_t bits, size_t size, bool is_signed)
{
	unsigned unused = 64 - 8 * (unsigned)size;

	if (is_signed) {
		return (uint64_t)((int64_t)(bits << unused) >> unused) == bits;
	}
	return bits << unused >> unused == bits;
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
	sink->wraps = sink->wraps || !fits(bits, datatype_size(sink->datatype), is_signed);
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

enum status
tensor_decode_data(struct tensor_decoder *decoder, yyjson_val *data, struct tensor *tensor)
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
	status = walk_data(&sink, data, 1);
	decoder->wraps = decoder->wraps || sink.wraps;
	return status;
}

/* --- The tensor --- */

static enum status
take_binary(struct tensor_decoder *decoder, uint64_t size, struct tensor *tensor)
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

static bool
read_content_type(yyjson_val *parameters, struct bytes *text)
{
	yyjson_val *type = yyjson_obj_get(parameters, "content_type");

	*text = json_bytes(type);
	if (text->length > TENSOR_CONTENT_TYPE_MAX) {
		*text = bytes_make(NULL, 0);
	}
	return type == NULL || yyjson_is_null(type) || text->length > 0;
}

bool
tensor_has_content_type(yyjson_val *value)
{
	struct bytes unused;

	return read_content_type(yyjson_obj_get(value, "parameters"), &unused);
}

static enum status
decode_data(struct tensor_decoder *decoder, yyjson_val *value, struct tensor *tensor)
{
	yyjson_val *parameters = yyjson_obj_get(value, "parameters");
	yyjson_val *data = yyjson_obj_get(value, "data");
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
	if (parameters != NULL) {
		(void)read_content_type(parameters, &tensor->content_type);
	}
	if (data != NULL) {
		return tensor_decode_data(decoder, data, tensor);
	}
	status = json_as_unsigned(size, "binary_data_size", &bytes, decoder->error);
	return status == STATUS_OK ? take_binary(decoder, bytes, tensor) : status;
}

static enum status
decode_shape(struct tensor_decoder *decoder, yyjson_val *value, struct tensor *tensor)
{
	yyjson_val *array;
	enum status status = json_get_array(value, "shape", &array, decoder->error);
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

enum status
tensor_decode(struct tensor_decoder *decoder, yyjson_val *value, struct tensor *tensor)
{
	struct bytes datatype;
	enum status status = json_get_string(value, "name", &tensor->name, decoder->error);

	if (status == STATUS_OK) {
		status = json_get_string(value, "datatype", &datatype, decoder->error);
	}
	if (status != STATUS_OK) {
		return status;
	}
	tensor->datatype = datatype_from_name(datatype);
	status = decode_shape(decoder, value, tensor);
	return status == STATUS_OK ? decode_data(decoder, value, tensor) : status;
}
