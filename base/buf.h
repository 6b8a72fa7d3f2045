/*
 * A growing byte buffer with a maximum length. An append past the maximum, or when memory runs out, marks the buffer as
 * failed, and every later append does nothing: a writer checks buf_ok once, at the end. Owned by one thread.
 */
#ifndef HIPPOCAMP_BASE_BUF_H
#define HIPPOCAMP_BASE_BUF_H

#include "base/bytes.h"

struct buf {
	uint8_t *at;
	size_t length;
	size_t capacity;
	size_t maximum;
	bool failed;
};

void buf_init(struct buf *buf, size_t maximum);
void buf_fini(struct buf *buf);

/* Removes the content and the failure mark; keeps the memory. */
void buf_clear(struct buf *buf);

/* For buf_reserve: makes room for `more` bytes, or marks the buffer as failed. */
bool buf_grow(struct buf *buf, size_t more);

/* Returns room for `more` bytes at the end, or NULL if the buffer has failed. The caller writes there and adds to
 * `length`. */
static inline uint8_t *
buf_reserve(struct buf *buf, size_t more)
{
	if (buf->failed || (more > buf->capacity - buf->length && !buf_grow(buf, more))) {
		return NULL;
	}
	return buf->at + buf->length;
}

static inline void
buf_append(struct buf *buf, struct bytes bytes)
{
	uint8_t *room = buf_reserve(buf, bytes.length);

	if (room != NULL && bytes.length > 0) {
		memcpy(room, bytes.at, bytes.length);
		buf->length += bytes.length;
	}
}

/* Inline, so that the compiler computes the length of a literal. */
static inline void
buf_text(struct buf *buf, const char *text)
{
	buf_append(buf, bytes_make(text, strlen(text)));
}

static inline void
buf_byte(struct buf *buf, uint8_t byte)
{
	uint8_t *room = buf_reserve(buf, 1);

	if (room != NULL) {
		*room = byte;
		buf->length++;
	}
}

void buf_format(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_unsigned(struct buf *buf, uint64_t number);
void buf_signed(struct buf *buf, int64_t number);

/* Appends `text` as a JSON string with its quotes (RFC 8259 section 7). Bytes above 0x7f are copied as they are. */
void buf_json_string(struct buf *buf, struct bytes text);

static inline bool
buf_ok(const struct buf *buf)
{
	return !buf->failed;
}

static inline struct bytes
buf_bytes(const struct buf *buf)
{
	return bytes_make(buf->at, buf->length);
}

#endif
