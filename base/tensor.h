/*
 * Tensors as the KServe v2 protocol has them: a name, a datatype, a shape, and row-major little-endian bytes. A BYTES
 * tensor's data is, for each element, its length as a 32-bit little-endian number and then that many bytes.
 *
 * A struct tensor is a view: name, shape and data belong to somebody else (a request's arena, a blob).
 */
#ifndef HIPPOCAMP_BASE_TENSOR_H
#define HIPPOCAMP_BASE_TENSOR_H

#include "base/bytes.h"

#define TENSOR_RANK_MAX 32

/* The numbers are those of inference.DataType in Triton's model_config.proto. */
enum datatype {
	DATATYPE_INVALID = 0,
	DATATYPE_BOOL = 1,
	DATATYPE_UINT8 = 2,
	DATATYPE_UINT16 = 3,
	DATATYPE_UINT32 = 4,
	DATATYPE_UINT64 = 5,
	DATATYPE_INT8 = 6,
	DATATYPE_INT16 = 7,
	DATATYPE_INT32 = 8,
	DATATYPE_INT64 = 9,
	DATATYPE_FP16 = 10,
	DATATYPE_FP32 = 11,
	DATATYPE_FP64 = 12,
	DATATYPE_BYTES = 13,
	DATATYPE_BF16 = 14,
};
#define DATATYPE_COUNT 15

struct tensor {
	struct bytes name;
	enum datatype datatype;
	size_t rank;
	const int64_t *shape;
	struct bytes data;
};

const char *datatype_name(enum datatype datatype);	  /* protocol: "INT32", "BYTES" */
const char *datatype_config_name(enum datatype datatype); /* config.pbtxt: "TYPE_INT32", "TYPE_STRING" */
enum datatype datatype_from_name(struct bytes name);	  /* DATATYPE_INVALID for an unknown name */
size_t datatype_size(enum datatype datatype);		  /* bytes an element; 0 for BYTES and INVALID */

/* Elements of a shape (1 for rank 0). False if a dimension is negative or the count passes 2^63 - 1. */
bool shape_elements(const int64_t *shape, size_t rank, int64_t *elements);

/* Checks that BYTES data is exactly `elements` framed elements; *found is how many whole ones there are. */
bool tensor_strings_valid(struct bytes data, int64_t elements, int64_t *found);

/* Takes the next element off the front of valid BYTES data. */
struct bytes tensor_next_string(struct bytes *data);

/* Bytes that the next `rows` rows of `tensor` take at the front of `rest`, which is valid data of it. */
size_t tensor_rows_length(const struct tensor *tensor, struct bytes rest, int64_t rows);

/* "[1,16]"; cut at `size` - 1. */
void shape_text(const int64_t *shape, size_t rank, char *text, size_t size);

static inline uint32_t
load_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

#endif
