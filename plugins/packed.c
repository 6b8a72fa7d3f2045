#include "plugins/packed.h"

#include "base/tensor.h"

/* The unread rest of the response. `failed`: it was too short; from then on everything read is empty. */
struct reader {
	struct bytes rest;
	bool failed;
};

static struct bytes
read_bytes(struct reader *reader, uint64_t length)
{
	struct bytes read = bytes_make(reader->rest.at, (size_t)length);

	if (reader->failed || length > reader->rest.length) {
		reader->failed = true;
		return bytes_make(NULL, 0);
	}
	reader->rest = bytes_skip(reader->rest, (size_t)length);
	return read;
}

static uint32_t
read_u32(struct reader *reader)
{
	struct bytes bytes = read_bytes(reader, sizeof(uint32_t));

	return reader->failed ? 0 : load_u32(bytes.at);
}

static uint64_t
read_u64(struct reader *reader)
{
	struct bytes bytes = read_bytes(reader, sizeof(uint64_t));
	uint64_t value = 0;

	if (!reader->failed) {
		memcpy(&value, bytes.at, sizeof(value));
	}
	return value;
}

static bool
data_fits(enum datatype datatype, struct bytes shape, struct bytes data)
{
	int64_t dimensions[TENSOR_RANK_MAX];
	int64_t elements;
	int64_t found;
	size_t size = datatype_size(datatype);

	if (shape.length % sizeof(int64_t) != 0 || shape.length > sizeof(dimensions)) {
		return false;
	}
	if (shape.length > 0) {
		memcpy(dimensions, shape.at, shape.length);
	}
	if (!shape_elements(dimensions, shape.length / sizeof(int64_t), &elements)) {
		return false;
	}
	if (datatype == DATATYPE_BYTES) {
		return tensor_strings_valid(data, elements, &found);
	}
	return size > 0 && data.length % size == 0 && data.length / size == (uint64_t)elements;
}

static bool
check_output(struct reader *all)
{
	uint64_t length = read_u64(all);
	struct reader output = {.rest = read_bytes(all, length), .failed = all->failed};
	struct bytes name = read_bytes(&output, read_u32(&output));
	struct bytes datatype = read_bytes(&output, read_u32(&output));
	struct bytes shape = read_bytes(&output, read_u32(&output));
	struct bytes data = read_bytes(&output, read_u64(&output));

	return !output.failed && output.rest.length == 0 && name.length > 0 && data.length > 0 &&
	       data_fits(datatype_from_name(datatype), shape, data);
}

enum packed_verdict
packed_check(struct bytes packed)
{
	struct reader reader = {.rest = packed};
	uint32_t count = read_u32(&reader);

	if (!reader.failed && count == 0) {
		return PACKED_EMPTY;
	}
	for (uint32_t i = 0; i < count && !reader.failed; i++) {
		if (!check_output(&reader)) {
			return PACKED_MALFORMED;
		}
	}
	return reader.failed || reader.rest.length > 0 ? PACKED_MALFORMED : PACKED_GOOD;
}
