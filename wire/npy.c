#include "wire/npy.h"

#include <stdlib.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_LENGTH 6

/* What the header tells. */
struct npy_header {
	char byte_order; /* '<', '|', '>', '=' */
	char kind;
	size_t size; /* of an element; of "U" in characters of 4 bytes */
};

static enum status
bad(struct error *error, const char *why)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "%s", why);
}

/* Splits the file into its header, a text, and its data. */
static bool
split(struct bytes file, struct bytes *header, struct bytes *data)
{
	size_t length_size;
	size_t length = 0;

	if (file.length < 12 || memcmp(file.at, MAGIC, MAGIC_LENGTH) != 0) {
		return false;
	}
	length_size = file.at[MAGIC_LENGTH] == 1 ? 2 : 4; /* by the major version */
	for (size_t i = 0; i < length_size; i++) {
		length |= (size_t)file.at[MAGIC_LENGTH + 2 + i] << (8 * i);
	}
	file = bytes_skip(file, MAGIC_LENGTH + 2 + length_size);
	if (length > file.length) {
		return false;
	}
	*header = bytes_make(file.at, length);
	*data = bytes_skip(file, length);
	return true;
}

/* What follows `key`, as in {'descr': '<f4', ...}; NULL: nothing. `text` ends in a null byte. */
static const char *
value_of(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	if (at == NULL) {
		return NULL;
	}
	at += strlen(key);
	return at + strspn(at, " :");
}

static bool
read_type(const char *text, struct npy_header *header)
{
	const char *at = value_of(text, "'descr'");
	char *end;

	if (at == NULL || at[0] != '\'' || at[1] == '\0' || at[2] == '\0') {
		return false;
	}
	header->byte_order = at[1];
	header->kind = at[2];
	header->size = strtoul(at + 3, &end, 10);
	return *end == '\'';
}

static bool
read_shape(const char *text, struct arena *arena, struct tensor *array)
{
	const char *at = value_of(text, "'shape'");
	int64_t *dims = arena_array(arena, TENSOR_RANK_MAX, sizeof(*dims));

	if (at == NULL || *at != '(' || dims == NULL) {
		return false;
	}
	at++;
	array->shape = dims;
	array->rank = 0;
	for (at += strspn(at, " ,"); *at != ')'; at += strspn(at, " ,L")) {
		char *end;

		if (array->rank == TENSOR_RANK_MAX || *at < '0' || *at > '9') {
			return false;
		}
		dims[array->rank++] = (int64_t)strtoll(at, &end, 10);
		at = end;
	}
	return true;
}

static enum datatype
datatype_of(const struct npy_header *header)
{
	static const struct {
		char kind;
		size_t size;
		enum datatype datatype;
	} types[] = {
		{'b', 1, DATATYPE_BOOL},   {'u', 1, DATATYPE_UINT8},  {'u', 2, DATATYPE_UINT16},
		{'u', 4, DATATYPE_UINT32}, {'u', 8, DATATYPE_UINT64}, {'i', 1, DATATYPE_INT8},
		{'i', 2, DATATYPE_INT16},  {'i', 4, DATATYPE_INT32},  {'i', 8, DATATYPE_INT64},
		{'f', 2, DATATYPE_FP16},   {'f', 4, DATATYPE_FP32},   {'f', 8, DATATYPE_FP64},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (types[i].kind == header->kind && types[i].size == header->size) {
			return types[i].datatype;
		}
	}
	return header->kind == 'S' || header->kind == 'U' ? DATATYPE_BYTES : DATATYPE_INVALID;
}

/* --- Texts --- */

/* Appends a character in UTF-8 (RFC 3629). */
static uint8_t *
put_character(uint8_t *at, uint32_t character)
{
	if (character < 0x80) {
		*at++ = (uint8_t)character;
		return at;
	}
	if (character < 0x800) {
		*at++ = (uint8_t)(0xc0 | character >> 6);
	} else if (character < 0x10000) {
		*at++ = (uint8_t)(0xe0 | character >> 12);
		*at++ = (uint8_t)(0x80 | (character >> 6 & 0x3f));
	} else {
		*at++ = (uint8_t)(0xf0 | (character >> 18 & 7));
		*at++ = (uint8_t)(0x80 | (character >> 12 & 0x3f));
		*at++ = (uint8_t)(0x80 | (character >> 6 & 0x3f));
	}
	*at++ = (uint8_t)(0x80 | (character & 0x3f));
	return at;
}

/* One text of `size` characters of `width` bytes each; returns the end of what has been written. */
static uint8_t *
put_text(const uint8_t *from, size_t size, size_t width, uint8_t *at)
{
	uint8_t *start = at + sizeof(uint32_t);
	uint8_t *end = start;
	uint32_t length;

	while (size > 0 && (width == 1 ? from[size - 1] : load_u32(from + 4 * (size - 1))) == 0) {
		size--;
	}
	for (size_t i = 0; i < size; i++) {
		if (width == 1) {
			*end++ = from[i];
		} else {
			end = put_character(end, load_u32(from + 4 * i));
		}
	}
	length = (uint32_t)(end - start);
	memcpy(at, &length, sizeof(length));
	return end;
}

static enum status
take_texts(const struct npy_header *header, struct bytes data, size_t elements, struct arena *arena,
	   struct tensor *array, struct error *error)
{
	size_t width = header->kind == 'U' ? 4 : 1; /* no character is longer in UTF-8 */
	size_t stride = header->size * width;
	uint8_t *out = arena_room(arena, data.length + elements * sizeof(uint32_t) + 1);
	uint8_t *end = out;

	if (out == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for its texts");
	}
	for (size_t i = 0; i < elements; i++) {
		end = put_text(data.at + i * stride, header->size, width, end);
	}
	array->data = bytes_make(out, (size_t)(end - out));
	return STATUS_OK;
}

/* --- The file --- */

static enum status
take_data(const struct npy_header *header, struct bytes data, struct arena *arena, struct tensor *array,
	  struct error *error)
{
	size_t stride = header->kind == 'U' ? 4 * header->size : header->size;
	int64_t elements;
	size_t length;

	array->datatype = datatype_of(header);
	if (array->datatype == DATATYPE_INVALID) {
		return bad(
			error,
			"it holds neither numbers nor texts that a tensor can have (save texts as array.astype('U'))");
	}
	if (header->byte_order == '>') {
		return bad(error, "its bytes are in big-endian order");
	}
	if (!shape_elements(array->shape, array->rank, &elements) || header->size == 0 ||
	    header->size > UINT32_MAX / 8 || __builtin_mul_overflow((size_t)elements, stride, &length) ||
	    length > data.length) {
		return bad(error, "it is shorter than its shape says");
	}
	data.length = length;
	if (array->datatype == DATATYPE_BYTES) {
		return take_texts(header, data, (size_t)elements, arena, array, error);
	}
	array->data = data;
	return STATUS_OK;
}

enum status
npy_decode(struct bytes file, struct arena *arena, struct tensor *array, struct error *error)
{
	struct npy_header header;
	const char *order;
	struct bytes text;
	struct bytes data;

	*array = (struct tensor){0};
	if (!split(file, &text, &data)) {
		return bad(error, "it is no array of numpy's (.npy)");
	}
	text = arena_copy(arena, text); /* ends in a null byte */
	if (text.at == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for its header");
	}
	order = value_of((const char *)text.at, "'fortran_order'");
	if (!read_type((const char *)text.at, &header) || !read_shape((const char *)text.at, arena, array) ||
	    order == NULL) {
		return bad(error, "its header is not understood");
	}
	if (*order != 'F') {
		return bad(error, "its order is Fortran's: save numpy.ascontiguousarray(array)");
	}
	return take_data(&header, data, arena, array, error);
}
