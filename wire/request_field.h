/*
 * Fields of protobuf requests that are read by hand, with base/protobuf.h, and Triton's error for malformed ones.
 * Room-private.
 */
#ifndef HIPPOCAMP_WIRE_REQUEST_FIELD_H
#define HIPPOCAMP_WIRE_REQUEST_FIELD_H

#include "base/protobuf.h"
#include "base/status.h"

static inline enum status
request_malformed(struct error *error)
{
	return error_set(error, STATUS_INTERNAL, "Unable to parse request");
}

/* Sets *text to a view of the field, which must be a string. */
static inline enum status
request_text(const struct protobuf_field *field, struct bytes *text, struct error *error)
{
	if (field->type != PROTOBUF_BYTES || !protobuf_is_utf8(field->bytes)) {
		return request_malformed(error);
	}
	*text = field->bytes;
	return STATUS_OK;
}

#endif
