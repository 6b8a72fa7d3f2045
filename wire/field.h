/*
 * Splits a header field's value into its parts, which separators divide and white space may surround (RFC 9110, section
 * 5.6). Private to wire/.
 */
#ifndef HIPPOCAMP_WIRE_FIELD_H
#define HIPPOCAMP_WIRE_FIELD_H

#include "base/bytes.h"

static inline struct bytes
field_trim(struct bytes text)
{
	while (text.length > 0 && (*text.at == ' ' || *text.at == '\t')) {
		text = bytes_skip(text, 1);
	}
	while (text.length > 0 && (text.at[text.length - 1] == ' ' || text.at[text.length - 1] == '\t')) {
		text.length--;
	}
	return text;
}

/* Removes the part before `mark`, or all of `text`, and the mark. Returns the part, trimmed. */
static inline struct bytes
field_take_until(struct bytes *text, char mark)
{
	const uint8_t *at = text->length == 0 ? NULL : memchr(text->at, mark, text->length);
	size_t length = at == NULL ? text->length : (size_t)(at - text->at);
	struct bytes part = bytes_make(text->at, length);

	*text = bytes_skip(*text, length + (at != NULL));
	return field_trim(part);
}

#endif
