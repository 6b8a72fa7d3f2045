/*
 * A view of bytes that it does not own: pointer and length, passed by value, not NUL-terminated.
 */
#ifndef HIPPOCAMP_BASE_BYTES_H
#define HIPPOCAMP_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct bytes {
	const uint8_t *at;
	size_t length;
};

/* The arguments for printf's "%.*s": at most BYTES_PRINT_MAX bytes, so that outside bytes cannot flood a message. */
#define BYTES_PRINT_MAX 512
#define BYTES_ARGS(b) (int)((b).length < BYTES_PRINT_MAX ? (b).length : BYTES_PRINT_MAX), (const char *)(b).at

static inline struct bytes
bytes_make(const void *at, size_t length)
{
	return (struct bytes){.at = at, .length = length};
}

static inline struct bytes
bytes_text(const char *text)
{
	return bytes_make(text, text == NULL ? 0 : strlen(text));
}

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.at, b.at, a.length) == 0);
}

static inline bool
bytes_equal_text(struct bytes a, const char *text)
{
	return bytes_equal(a, bytes_text(text));
}

/* Ignores the case of ASCII letters, as HTTP's field names require. */
static inline bool
bytes_equal_nocase(struct bytes a, const char *text)
{
	return a.length == strlen(text) && strncasecmp((const char *)a.at, text, a.length) == 0;
}

static inline bool
bytes_starts_with(struct bytes a, const char *prefix)
{
	size_t length = strlen(prefix);

	return a.length >= length && memcmp(a.at, prefix, length) == 0;
}

static inline struct bytes
bytes_skip(struct bytes a, size_t count)
{
	return bytes_make(a.at + count, a.length - count);
}

/* Removes and returns the part before the next `separator`, or all of `rest`. Removes the separator, too. */
static inline struct bytes
bytes_take_until(struct bytes *rest, char separator)
{
	const uint8_t *end = rest->length == 0 ? NULL : memchr(rest->at, separator, rest->length);
	size_t length = end == NULL ? rest->length : (size_t)(end - rest->at);
	struct bytes part = bytes_make(rest->at, length);

	*rest = bytes_skip(*rest, length + (end != NULL));
	return part;
}

/* Compares byte by byte; a prefix is less than the longer view. */
static inline int
bytes_compare(struct bytes a, struct bytes b)
{
	size_t common = a.length < b.length ? a.length : b.length;
	int order = common == 0 ? 0 : memcmp(a.at, b.at, common);

	if (order != 0) {
		return order;
	}
	return (a.length > b.length) - (a.length < b.length);
}

#endif
