#include "wire/json.h"

#include <limits.h>
#include <openssl/evp.h>

static const char *
reason(const yyjson_read_err *failure)
{
	switch (failure->code) {
	case YYJSON_READ_ERROR_EMPTY_CONTENT:
		return "The document is empty.";
	case YYJSON_READ_ERROR_UNEXPECTED_CONTENT:
		return "The document root must not be followed by other values.";
	case YYJSON_READ_ERROR_UNEXPECTED_CHARACTER:
	case YYJSON_READ_ERROR_LITERAL:
		return "Invalid value.";
	default:
		return failure->msg;
	}
}

static yyjson_doc *
read_with(struct bytes text, yyjson_read_flag flags, yyjson_read_err *failure)
{
	/* yyjson writes to the text only with YYJSON_READ_INSITU. */
	return yyjson_read_opts((char *)(uintptr_t)text.at, text.length, flags, NULL, failure);
}

/* True for errors that the lenient flags would hide but Triton reports: numbers too large for a double, control
 * characters. */
static bool
is_final(struct bytes text, const yyjson_read_err *failure)
{
	return (failure->code == YYJSON_READ_ERROR_INVALID_NUMBER && strstr(failure->msg, "infinity") != NULL) ||
	       (failure->code == YYJSON_READ_ERROR_INVALID_STRING && failure->pos < text.length &&
		text.at[failure->pos] < 0x20);
}

yyjson_doc *
json_read(struct bytes text, struct error *error)
{
	yyjson_read_err failure = {0};
	yyjson_doc *document;

	if (bytes_starts_with(text, "\xef\xbb\xbf")) {
		text = bytes_skip(text, 3);
	}
	document = read_with(text, YYJSON_READ_NOFLAG, &failure);
	if (document == NULL && text.length > 0 && !is_final(text, &failure)) {
		document = read_with(text, YYJSON_READ_ALLOW_INF_AND_NAN | YYJSON_READ_ALLOW_INVALID_UNICODE, &failure);
	}
	if (document == NULL) {
		(void)error_set(error, STATUS_INTERNAL, "failed to parse the request JSON buffer: %s at %zu",
				text.length == 0 ? "The document is empty." : reason(&failure), failure.pos);
	}
	return document;
}

enum status
json_wrong_type(const char *what, const char *type, struct error *error)
{
	return error_set(error, STATUS_INTERNAL, "Unable to parse '%s': attempt to access JSON non-%s as %s", what,
			 type, type);
}

static enum status
get(yyjson_val *object, const char *what, yyjson_val **value, struct error *error)
{
	*value = yyjson_obj_get(object, what);
	if (*value == NULL) {
		return error_set(error, STATUS_INTERNAL,
				 "Unable to parse '%s': attempt to access non-existing object member '%s'", what, what);
	}
	return STATUS_OK;
}

enum status
json_get_array(yyjson_val *object, const char *what, yyjson_val **array, struct error *error)
{
	enum status status = get(object, what, array, error);

	if (status == STATUS_OK && !yyjson_is_arr(*array)) {
		return json_wrong_type(what, "array", error);
	}
	return status;
}

enum status
json_get_string(yyjson_val *object, const char *what, struct bytes *string, struct error *error)
{
	yyjson_val *value;
	enum status status = get(object, what, &value, error);

	return status == STATUS_OK ? json_as_string(value, what, string, error) : status;
}

enum status
json_as_string(yyjson_val *value, const char *what, struct bytes *string, struct error *error)
{
	if (!yyjson_is_str(value)) {
		return json_wrong_type(what, "string", error);
	}
	*string = json_bytes(value);
	return STATUS_OK;
}

enum status
json_as_unsigned(yyjson_val *value, const char *what, uint64_t *number, struct error *error)
{
	if (!yyjson_is_uint(value)) {
		return json_wrong_type(what, "unsigned-integer", error);
	}
	*number = yyjson_get_uint(value);
	return STATUS_OK;
}

enum status
json_as_boolean(yyjson_val *value, const char *what, bool *boolean, struct error *error)
{
	if (!yyjson_is_bool(value)) {
		return json_wrong_type(what, "boolean", error);
	}
	*boolean = yyjson_get_bool(value);
	return STATUS_OK;
}

bool
json_has_others(yyjson_val *object, const char *const *names)
{
	yyjson_obj_iter items = yyjson_obj_iter_with(object);
	yyjson_val *key;

	while ((key = yyjson_obj_iter_next(&items)) != NULL) {
		size_t i = 0;

		while (names[i] != NULL && !yyjson_equals_str(key, names[i])) {
			i++;
		}
		if (names[i] == NULL || yyjson_obj_get(object, names[i]) != yyjson_obj_iter_get_val(key)) {
			return true;
		}
	}
	return false;
}

bool
json_base64(struct bytes text, struct arena *arena, struct bytes *content)
{
	uint8_t *out;
	int length;

	while (text.length > 0 && strchr(" \t\r\n", text.at[text.length - 1]) != NULL) {
		text.length--;
	}
	out = text.length > INT_MAX ? NULL : arena_get(arena, text.length / 4 * 3 + 3);
	length = out == NULL ? -1 : EVP_DecodeBlock(out, text.at, (int)text.length);

	if (length < 0) {
		return false;
	}
	for (size_t i = text.length; i > 0 && text.at[i - 1] == '=' && length > 0; i--) {
		length--;
	}
	*content = bytes_make(out, (size_t)length);
	return true;
}
