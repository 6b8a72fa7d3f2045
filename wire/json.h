/*
 * Reading JSON, over yyjson, with Triton's error texts. Private to wire/, since it exposes yyjson's types.
 *
 * Triton answers JSON of the wrong structure (a missing member, a wrong type) with an internal error, HTTP 500, and
 * clients' tests rely on it: hence STATUS_INTERNAL throughout.
 */
#ifndef HIPPOCAMP_WIRE_JSON_H
#define HIPPOCAMP_WIRE_JSON_H

#include "base/arena.h"
#include "base/status.h"

#include <yyjson.h>

/* Accepts NaN and Infinity, a UTF-8 byte order mark and ill-formed UTF-8, as Triton does. NULL on failure. */
yyjson_doc *json_read(struct bytes text, struct error *error);

/* json_get_*: the member `what` of `object`. json_as_*: `value`, which messages call `what`. Other types are errors. */
enum status json_get_array(yyjson_val *object, const char *what, yyjson_val **array, struct error *error);
enum status json_get_string(yyjson_val *object, const char *what, struct bytes *string, struct error *error);

enum status json_as_string(yyjson_val *value, const char *what, struct bytes *string, struct error *error);
enum status json_as_unsigned(yyjson_val *value, const char *what, uint64_t *number, struct error *error);
enum status json_as_boolean(yyjson_val *value, const char *what, bool *boolean, struct error *error);

/* "Unable to parse 'what': attempt to access JSON non-<type> as <type>" */
enum status json_wrong_type(const char *what, const char *type, struct error *error);

/* Has the object other members than these (NULL at the end), or one of them twice? Other values than objects have none.
 */
bool json_has_others(yyjson_val *object, const char *const *names);

/* Decodes base64 (RFC 4648 section 4) into the arena. False: it is none, or there is no memory. */
bool json_base64(struct bytes text, struct arena *arena, struct bytes *content);

static inline struct bytes
json_bytes(yyjson_val *string)
{
	return bytes_make(yyjson_get_str(string), yyjson_get_len(string));
}

#endif
