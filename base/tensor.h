/*
 * Tensors as the KServe v2 protocol defines them: a name, a datatype, a shape, and row-major little-endian data. In a
 * BYTES tensor each element is its length, as a 32-bit little-endian number, and then that many bytes.
 *
 * A struct tensor is a view: a request's arena, a blob or the like owns its name, shape and data.
 */
#ifndef HIPPOCAMP_BASE_TENSOR_H
#define HIPPOCAMP_BASE_TENSOR_H

#include "base/bytes.h"
#include "base/status.h"

#define TENSOR_RANK_MAX 32

/* The values equal those of inference.DataType in Triton's model_config.proto. */
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
	/*
	 * The tensor's parameter of that name, by which MLServer's clients say how the data were encoded; empty: none.
	 * Only models on another server know it.
	 */
	struct bytes content_type;
};

#define TENSOR_CONTENT_TYPE_MAX 255

const char *datatype_name(enum datatype datatype);	  /* protocol: "INT32", "BYTES" */
const char *datatype_config_name(enum datatype datatype); /* config.pbtxt: "TYPE_INT32", "TYPE_STRING" */
enum datatype datatype_from_name(struct bytes name);	  /* DATATYPE_INVALID for an unknown name */
size_t datatype_size(enum datatype datatype);		  /* bytes per element; 0 for BYTES and INVALID */

/* Counts the elements of a shape (1 for rank 0). False if a dimension is negative, or if the product of the
 * nonzero ones exceeds 2^63 - 1. */
bool shape_elements(const int64_t *shape, size_t rank, int64_t *elements);

/* Says that the shape of input `name` has more elements than shape_elements can count. */
enum status shape_too_large(struct bytes name, const int64_t *shape, size_t rank, struct error *error);

/* Checks that BYTES data holds exactly `elements` elements. Sets *found to the number of whole ones. */
bool tensor_strings_valid(struct bytes data, int64_t elements, int64_t *found);

/* Does the tensor have a datatype that is known, and the bytes of its shape? */
bool tensor_is_whole(const struct tensor *tensor);

/* Removes the next element from the front of valid BYTES data and returns it. */
struct bytes tensor_next_string(struct bytes *data);

/* Returns the length in bytes of the first `rows` rows in `rest`, valid data of `tensor`. */
size_t tensor_rows_length(const struct tensor *tensor, struct bytes rest, int64_t rows);

/* Writes "[1,16]", truncated to `size` - 1 bytes. */
void shape_text(const int64_t *shape, size_t rank, char *text, size_t size);

static inline uint32_t
load_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

#endif
