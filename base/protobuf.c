#include "base/protobuf.h"

#define VARINT_BYTES_MAX 10
#define NUMBER_MAX UINT32_C(0x1fffffff) /* of a field */

bool
protobuf_take_long_varint(struct bytes *rest, uint64_t *value)
{
	uint64_t result = 0;

	for (size_t i = 0; i < VARINT_BYTES_MAX && i < rest->length; i++) {
		uint8_t byte = rest->at[i];

		result |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte < 0x80) {
			*rest = bytes_skip(*rest, i + 1);
			*value = result;
			return true; /* bits past the 64th are dropped, as by the libraries of protobuf */
		}
	}
	return false;
}

static bool
take_fixed(struct bytes *rest, size_t size, uint64_t *value)
{
	*value = 0;
	if (rest->length < size) {
		return false;
	}
	memcpy(value, rest->at, size); /* little-endian, as this machine */
	*rest = bytes_skip(*rest, size);
	return true;
}

enum protobuf_step
protobuf_next(struct bytes *rest, struct protobuf_field *field)
{
	const uint8_t *start = rest->at;
	uint64_t tag;
	bool good = false;

	*field = (struct protobuf_field){0};
	if (rest->length == 0) {
		return PROTOBUF_END;
	}
	if (!protobuf_take_varint(rest, &tag) || tag >> 3 == 0 || tag >> 3 > NUMBER_MAX) {
		return PROTOBUF_MALFORMED;
	}
	field->number = (uint32_t)(tag >> 3);
	field->type = (enum protobuf_type)(tag & 7);
	switch (field->type) {
	case PROTOBUF_VARINT:
		good = protobuf_take_varint(rest, &field->value);
		break;
	case PROTOBUF_FIXED64:
		good = take_fixed(rest, 8, &field->value);
		break;
	case PROTOBUF_FIXED32:
		good = take_fixed(rest, 4, &field->value);
		break;
	case PROTOBUF_BYTES:
		good = protobuf_take_varint(rest, &field->value) && field->value <= rest->length;
		if (good) {
			field->bytes = bytes_make(rest->at, (size_t)field->value);
			*rest = bytes_skip(*rest, (size_t)field->value);
		}
		break;
	}
	field->record = bytes_make(start, (size_t)(rest->at - start));
	return good ? PROTOBUF_FIELD : PROTOBUF_MALFORMED;
}

/* The length of the sequence that begins here, or 0 if it is none. */
static size_t
utf8_sequence(struct bytes text)
{
	uint8_t first = *text.at;
	size_t length = first < 0x80   ? 1
			: first < 0xc2 ? 0
			: first < 0xe0 ? 2
			: first < 0xf0 ? 3
			: first < 0xf5 ? 4
				       : 0;

	if (length == 0 || length > text.length) {
		return 0;
	}
	for (size_t i = 1; i < length; i++) {
		if ((text.at[i] & 0xc0) != 0x80) {
			return 0;
		}
	}
	/* Overlong forms, surrogates, and what lies above U+10FFFF. */
	if ((first == 0xe0 && text.at[1] < 0xa0) || (first == 0xed && text.at[1] > 0x9f) ||
	    (first == 0xf0 && text.at[1] < 0x90) || (first == 0xf4 && text.at[1] > 0x8f)) {
		return 0;
	}
	return length;
}

bool
protobuf_is_utf8(struct bytes text)
{
	while (text.length > 0) {
		size_t length = utf8_sequence(text);

		if (length == 0) {
			return false;
		}
		text = bytes_skip(text, length);
	}
	return true;
}

void
protobuf_put_varint(struct buf *out, uint64_t value)
{
	while (value >= 0x80) {
		buf_byte(out, (uint8_t)(value | 0x80));
		value >>= 7;
	}
	buf_byte(out, (uint8_t)value);
}

void
protobuf_put_tag(struct buf *out, uint32_t number, enum protobuf_type type)
{
	protobuf_put_varint(out, (uint64_t)number << 3 | (uint64_t)type);
}

void
protobuf_put_number(struct buf *out, uint32_t number, uint64_t value)
{
	if (value != 0) {
		protobuf_put_tag(out, number, PROTOBUF_VARINT);
		protobuf_put_varint(out, value);
	}
}

void
protobuf_put_bytes(struct buf *out, uint32_t number, struct bytes bytes)
{
	protobuf_put_tag(out, number, PROTOBUF_BYTES);
	protobuf_put_varint(out, bytes.length);
	buf_append(out, bytes);
}

void
protobuf_put_text(struct buf *out, uint32_t number, struct bytes text)
{
	if (text.length > 0) {
		protobuf_put_bytes(out, number, text);
	}
}
