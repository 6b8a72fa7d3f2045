/*
 * Reading and writing the wire format of Protocol Buffers by hand, for messages that must not be copied, and for small
 * ones.
 *
 * Source: the Protocol Buffers documentation, "Encoding". Groups are not supported: proto3 has none.
 */
#ifndef HIPPOCAMP_BASE_PROTOBUF_H
#define HIPPOCAMP_BASE_PROTOBUF_H

#include "base/buf.h"

enum protobuf_type { PROTOBUF_VARINT = 0, PROTOBUF_FIXED64 = 1, PROTOBUF_BYTES = 2, PROTOBUF_FIXED32 = 5 };

struct protobuf_field {
	uint32_t number;
	enum protobuf_type type;
	uint64_t value;	     /* of the numeric types */
	struct bytes bytes;  /* of PROTOBUF_BYTES; a view */
	struct bytes record; /* the whole field, its tag included; a view */
};

enum protobuf_step { PROTOBUF_FIELD, PROTOBUF_END, PROTOBUF_MALFORMED };

/* For protobuf_take_varint: one of more than a byte. */
bool protobuf_take_long_varint(struct bytes *rest, uint64_t *value);

/* Removes a varint from the front of `rest`. False: malformed. Inline, since most have one byte. */
static inline bool
protobuf_take_varint(struct bytes *rest, uint64_t *value)
{
	if (rest->length > 0 && *rest->at < 0x80) {
		*value = *rest->at;
		*rest = bytes_skip(*rest, 1);
		return true;
	}
	return protobuf_take_long_varint(rest, value);
}

/* Removes the next field from the front of `rest`. */
enum protobuf_step protobuf_next(struct bytes *rest, struct protobuf_field *field);

/* Is the text valid UTF-8 (RFC 3629), as each string of proto3 must be? */
bool protobuf_is_utf8(struct bytes text);

static inline size_t
protobuf_varint_size(uint64_t value)
{
	return value == 0 ? 1 : (size_t)(70 - __builtin_clzll(value)) / 7;
}

/* Append a field. Those for scalars and texts leave out what has proto3's default, zero or empty. */
void protobuf_put_varint(struct buf *out, uint64_t value);
void protobuf_put_tag(struct buf *out, uint32_t number, enum protobuf_type type);
void protobuf_put_number(struct buf *out, uint32_t number, uint64_t value);
void protobuf_put_bytes(struct buf *out, uint32_t number, struct bytes bytes); /* also empty ones */
void protobuf_put_text(struct buf *out, uint32_t number, struct bytes text);

#endif
