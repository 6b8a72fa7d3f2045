#include "base/tensor.h"

#include <inttypes.h>
#include <stdio.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are kept in the host's byte order");

static const struct {
	const char *name;
	const char *config_name;
	size_t size;
} datatypes[DATATYPE_COUNT] = {
	[DATATYPE_INVALID] = {"<invalid>", "TYPE_INVALID", 0},
	[DATATYPE_BOOL] = {"BOOL", "TYPE_BOOL", 1},
	[DATATYPE_UINT8] = {"UINT8", "TYPE_UINT8", 1},
	[DATATYPE_UINT16] = {"UINT16", "TYPE_UINT16", 2},
	[DATATYPE_UINT32] = {"UINT32", "TYPE_UINT32", 4},
	[DATATYPE_UINT64] = {"UINT64", "TYPE_UINT64", 8},
	[DATATYPE_INT8] = {"INT8", "TYPE_INT8", 1},
	[DATATYPE_INT16] = {"INT16", "TYPE_INT16", 2},
	[DATATYPE_INT32] = {"INT32", "TYPE_INT32", 4},
	[DATATYPE_INT64] = {"INT64", "TYPE_INT64", 8},
	[DATATYPE_FP16] = {"FP16", "TYPE_FP16", 2},
	[DATATYPE_FP32] = {"FP32", "TYPE_FP32", 4},
	[DATATYPE_FP64] = {"FP64", "TYPE_FP64", 8},
	[DATATYPE_BYTES] = {"BYTES", "TYPE_STRING", 0},
	[DATATYPE_BF16] = {"BF16", "TYPE_BF16", 2},
};

const char *
datatype_name(enum datatype datatype)
{
	return datatypes[datatype].name;
}

const char *
datatype_config_name(enum datatype datatype)
{
	return datatypes[datatype].config_name;
}

enum datatype
datatype_from_name(struct bytes name)
{
	for (int i = DATATYPE_BOOL; i < DATATYPE_COUNT; i++) {
		if (bytes_equal_text(name, datatypes[i].name)) {
			return (enum datatype)i;
		}
	}
	return DATATYPE_INVALID;
}

size_t
datatype_size(enum datatype datatype)
{
	return datatypes[datatype].size;
}

bool
shape_elements(const int64_t *shape, size_t rank, int64_t *elements)
{
	bool empty = false;
	int64_t count = 1;

	for (size_t i = 0; i < rank; i++) {
		if (shape[i] < 0) {
			return false;
		}
		empty = empty || shape[i] == 0;
		if (shape[i] != 0 && __builtin_mul_overflow(count, shape[i], &count)) {
			return false;
		}
	}
	*elements = empty ? 0 : count;
	return true;
}

enum status
shape_too_large(struct bytes name, const int64_t *shape, size_t rank, struct error *error)
{
	char text[256];

	shape_text(shape, rank, text, sizeof(text));
	return error_set(
		error, STATUS_INVALID_ARGUMENT,
		"invalid shape for input '%.*s': shape %s causes total element count to exceed maximum size of "
		"%" PRId64,
		BYTES_ARGS(name), text, INT64_MAX);
}

bool
tensor_strings_valid(struct bytes data, int64_t elements, int64_t *found)
{
	*found = 0;
	while (data.length >= sizeof(uint32_t)) {
		size_t length = load_u32(data.at);

		if (length > data.length - sizeof(uint32_t)) {
			return false;
		}
		data = bytes_skip(data, sizeof(uint32_t) + length);
		++*found;
	}
	return data.length == 0 && *found == elements;
}

bool
tensor_is_whole(const struct tensor *tensor)
{
	size_t size = datatype_size(tensor->datatype);
	int64_t elements;
	int64_t found;
	size_t length;

	if (tensor->datatype == DATATYPE_INVALID || !shape_elements(tensor->shape, tensor->rank, &elements)) {
		return false;
	}
	if (tensor->datatype == DATATYPE_BYTES) {
		return tensor_strings_valid(tensor->data, elements, &found);
	}
	return !__builtin_mul_overflow((size_t)elements, size, &length) && length == tensor->data.length;
}

struct bytes
tensor_next_string(struct bytes *data)
{
	struct bytes element = bytes_make(data->at + sizeof(uint32_t), load_u32(data->at));

	*data = bytes_skip(*data, sizeof(uint32_t) + element.length);
	return element;
}

void
shape_text(const int64_t *shape, size_t rank, char *text, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < rank && used < size; i++) {
		used += (size_t)snprintf(text + used, size - used, "%s%lld", i == 0 ? "[" : ",", (long long)shape[i]);
	}
	if (used < size) {
		(void)snprintf(text + used, size - used, rank == 0 ? "[]" : "]");
	}
}

size_t
tensor_rows_length(const struct tensor *tensor, struct bytes rest, int64_t rows)
{
	size_t before = rest.length;
	size_t elements = (size_t)rows;

	if (tensor->datatype != DATATYPE_BYTES) {
		return tensor->shape[0] == 0 ? 0 : tensor->data.length / (size_t)tensor->shape[0] * (size_t)rows;
	}
	for (size_t i = 1; i < tensor->rank; i++) {
		elements *= (size_t)tensor->shape[i];
	}
	for (size_t i = 0; i < elements; i++) {
		(void)tensor_next_string(&rest);
	}
	return before - rest.length;
}
