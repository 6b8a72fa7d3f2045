/*
 * JSON for the rest of this room: reading with Triton's error texts, over yyjson. Room-private: it shows yyjson's
 * types.
 *
 * Triton answers a wrong JSON shape (missing member, wrong type) as an internal error, HTTP 500, and clients' tests
 * rely on it; hence STATUS_INTERNAL throughout.
 */
#ifndef HIPPOCAMP_WIRE_JSON_H
#define HIPPOCAMP_WIRE_JSON_H

#include "base/arena.h"
#include "base/status.h"

#include <yyjson.h>

/* Accepts NaN and Infinity, a UTF-8 byte order mark and ill-formed UTF-8, as Triton does. NULL on failure. */
yyjson_doc *json_read(struct bytes text, struct error *error);

/* Member `name` of `object` as the type in question. `what` names the member in messages. */
enum status json_get_array(yyjson_val *object, const char *what, yyjson_val **array, struct error *error);
enum status json_get_string(yyjson_val *object, const char *what, struct bytes *string, struct error *error);

enum status json_as_string(yyjson_val *value, const char *what, struct bytes *string, struct error *error);
enum status json_as_unsigned(yyjson_val *value, const char *what, uint64_t *number, struct error *error);
enum status json_as_boolean(yyjson_val *value, const char *what, bool *boolean, struct error *error);

/* "Unable to parse 'what': attempt to access JSON non-<type> as <type>" */
enum status json_wrong_type(const char *what, const char *type, struct error *error);

static inline struct bytes
json_bytes(yyjson_val *string)
{
	return bytes_make(yyjson_get_str(string), yyjson_get_len(string));
}

#endif
