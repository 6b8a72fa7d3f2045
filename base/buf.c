#include "base/buf.h"

#include "base/block_pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGE ((size_t)1 << 20)

void
buf_init(struct buf *buf, size_t maximum)
{
	*buf = (struct buf){.maximum = maximum};
}

void
buf_fini(struct buf *buf)
{
	if (buf->capacity >= LARGE) {
		block_free_later(buf->at);
	} else {
		free(buf->at);
	}
	*buf = (struct buf){0};
}

void
buf_clear(struct buf *buf)
{
	buf->length = 0;
	buf->failed = false;
}

bool
buf_grow(struct buf *buf, size_t more)
{
	size_t capacity = buf->capacity < 128 ? 256 : buf->capacity * 2;
	uint8_t *at;

	buf->failed = true;
	if (more > buf->maximum - buf->length) {
		return false;
	}
	if (capacity < buf->length + more) {
		capacity = buf->length + more;
	}
	if (capacity > buf->maximum) {
		capacity = buf->maximum;
	}
	at = realloc(buf->at, capacity);
	if (at == NULL) {
		return false;
	}
	buf->at = at;
	buf->capacity = capacity;
	buf->failed = false;
	return true;
}

void
buf_format(struct buf *buf, const char *format, ...)
{
	va_list args;
	va_list again;
	uint8_t *room;
	int length;

	va_start(args, format);
	va_copy(again, args);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	room = length < 0 ? NULL : buf_reserve(buf, (size_t)length + 1);
	if (room != NULL) {
		(void)vsnprintf((char *)room, (size_t)length + 1, format, again);
		buf->length += (size_t)length;
	} else {
		buf->failed = true;
	}
	va_end(again);
}

/* Most numbers in a reply are small. */
static void
append_below_100(struct buf *buf, unsigned number)
{
	size_t length = number < 10 ? 1 : 2;
	uint8_t *at = buf_reserve(buf, length);

	if (at != NULL) {
		at[0] = (uint8_t)('0' + number / 10);
		at[length - 1] = (uint8_t)('0' + number % 10);
		buf->length += length;
	}
}

void
buf_unsigned(struct buf *buf, uint64_t number)
{
	uint8_t digits[20];
	size_t start = sizeof(digits);

	if (number < 100) {
		append_below_100(buf, (unsigned)number);
		return;
	}
	do {
		digits[--start] = (uint8_t)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	buf_append(buf, bytes_make(digits + start, sizeof(digits) - start));
}

void
buf_signed(struct buf *buf, int64_t number)
{
	if (number < 0) {
		buf_byte(buf, '-');
		buf_unsigned(buf, 0 - (uint64_t)number);
	} else {
		buf_unsigned(buf, (uint64_t)number);
	}
}

static void
json_escape(struct buf *buf, uint8_t byte)
{
	switch (byte) {
	case '"':
		buf_text(buf, "\\\"");
		break;
	case '\\':
		buf_text(buf, "\\\\");
		break;
	case '\n':
		buf_text(buf, "\\n");
		break;
	case '\r':
		buf_text(buf, "\\r");
		break;
	case '\t':
		buf_text(buf, "\\t");
		break;
	default:
		buf_format(buf, "\\u%04x", byte);
		break;
	}
}

void
buf_json_string(struct buf *buf, struct bytes text)
{
	size_t clean = 0;

	buf_byte(buf, '"');
	for (size_t i = 0; i < text.length; i++) {
		uint8_t byte = text.at[i];

		if (byte >= 0x20 && byte != '"' && byte != '\\') {
			continue;
		}
		buf_append(buf, bytes_make(text.at + clean, i - clean));
		json_escape(buf, byte);
		clean = i + 1;
	}
	buf_append(buf, bytes_make(text.at + clean, text.length - clean));
	buf_byte(buf, '"');
}
