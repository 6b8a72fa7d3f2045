#include "plugins/json_config.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS_MAX 1024

/* Reads a NUL-terminated text; `what` says why it failed. */
struct reader {
	const char *start;
	const char *at;
	const char *what;
};

static bool
fail(struct reader *reader, const char *what)
{
	reader->what = what;
	return false;
}

static void
skip_space(struct reader *reader)
{
	reader->at += strspn(reader->at, " \t\r\n");
}

static bool
take(struct reader *reader, char wanted, const char *what)
{
	skip_space(reader);
	if (*reader->at != wanted) {
		return fail(reader, what);
	}
	reader->at++;
	return true;
}

/* --- Strings --- */

static bool
read_hex(struct reader *reader, uint32_t *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdef0123456789ABCDEF";
		const char *digit = *reader->at == '\0' ? NULL : strchr(digits, *reader->at);

		if (digit == NULL) {
			return fail(reader, "\\u needs four hexadecimal digits");
		}
		*code = *code << 4 | (uint32_t)((digit - digits) % 16);
		reader->at++;
	}
	return true;
}

/* RFC 3629. */
static char *
write_utf8(char *out, uint32_t code)
{
	if (code < 0x80) {
		*out++ = (char)code;
		return out;
	}
	if (code < 0x800) {
		*out++ = (char)(0xc0 | code >> 6);
	} else {
		if (code < 0x10000) {
			*out++ = (char)(0xe0 | code >> 12);
		} else {
			*out++ = (char)(0xf0 | code >> 18);
			*out++ = (char)(0x80 | (code >> 12 & 0x3f));
		}
		*out++ = (char)(0x80 | (code >> 6 & 0x3f));
	}
	*out++ = (char)(0x80 | (code & 0x3f));
	return out;
}

/* Reads what follows \u; a character beyond U+FFFF comes as a surrogate pair. */
static bool
read_code(struct reader *reader, char **out)
{
	uint32_t code;
	uint32_t low;

	if (!read_hex(reader, &code)) {
		return false;
	}
	if (code >= 0xd800 && code < 0xdc00 && reader->at[0] == '\\' && reader->at[1] == 'u') {
		reader->at += 2;
		if (!read_hex(reader, &low)) {
			return false;
		}
		if (low < 0xdc00 || low > 0xdfff) {
			return fail(reader, "\\u names half a character");
		}
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
	} else if (code >= 0xd800 && code < 0xe000) {
		return fail(reader, "\\u names half a character");
	}
	if (code == 0) {
		return fail(reader, "a text cannot hold \\u0000");
	}
	*out = write_utf8(*out, code);
	return true;
}

static bool
read_escape(struct reader *reader, char **out)
{
	static const char names[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	const char *name;

	if (*reader->at == 'u') {
		reader->at++;
		return read_code(reader, out);
	}
	name = *reader->at == '\0' ? NULL : strchr(names, *reader->at);
	if (name == NULL) {
		return fail(reader, "unknown escape in a string");
	}
	reader->at++;
	*(*out)++ = meanings[name - names];
	return true;
}

/* No escape is shorter than what it stands for, so the result is no longer than the source. */
static char *
read_string(struct reader *reader)
{
	char *text;
	char *out;

	if (!take(reader, '"', "expected a string")) {
		return NULL;
	}
	text = malloc(strlen(reader->at) + 1);
	out = text;
	if (text == NULL) {
		(void)fail(reader, "no memory");
		return NULL;
	}
	while (*reader->at != '"') {
		bool good = true;

		if ((unsigned char)*reader->at < ' ') {
			good = fail(reader,
				    *reader->at == '\0' ? "a string without its end" : "a bare control character");
		} else if (*reader->at != '\\') {
			*out++ = *reader->at++;
		} else {
			reader->at++;
			good = read_escape(reader, &out);
		}
		if (!good) {
			free(text);
			return NULL;
		}
	}
	reader->at++;
	*out = '\0';
	return text;
}

/* --- Values and pairs --- */

/* Numbers and booleans, as they are written. */
static char *
read_word(struct reader *reader)
{
	bool number = *reader->at == '-' || (*reader->at >= '0' && *reader->at <= '9');
	size_t length = strspn(reader->at, number ? "+-.0123456789eE" : "aeflrstu");
	char *text;

	if (!number && !(length == 4 && strncmp(reader->at, "true", 4) == 0) &&
	    !(length == 5 && strncmp(reader->at, "false", 5) == 0)) {
		(void)fail(reader, "expected a string, a number, true or false");
		return NULL;
	}
	text = strndup(reader->at, length);
	if (text == NULL) {
		(void)fail(reader, "no memory");
	}
	reader->at += length;
	return text;
}

static void
free_pair(struct json_config_pair *pair)
{
	if (pair->value != NULL) {
		explicit_bzero(pair->value, strlen(pair->value));
	}
	free(pair->value);
	free(pair->key);
}

static bool
keep(struct reader *reader, struct json_config *configuration, struct json_config_pair pair)
{
	struct json_config_pair *pairs;

	for (size_t i = 0; i < configuration->count; i++) {
		if (strcmp(configuration->pairs[i].key, pair.key) == 0) {
			free_pair(&configuration->pairs[i]);
			configuration->pairs[i] = pair;
			return true;
		}
	}
	pairs = configuration->count >= PAIRS_MAX
			? NULL
			: reallocarray(configuration->pairs, configuration->count + 1, sizeof(*pairs));
	if (pairs == NULL) {
		free_pair(&pair);
		return fail(reader, configuration->count >= PAIRS_MAX ? "too many keys" : "no memory");
	}
	pairs[configuration->count++] = pair;
	configuration->pairs = pairs;
	return true;
}

static bool
read_pair(struct reader *reader, struct json_config *configuration)
{
	struct json_config_pair pair = {.key = read_string(reader)};

	if (pair.key == NULL || !take(reader, ':', "expected ':' behind a key")) {
		free(pair.key);
		return false;
	}
	skip_space(reader);
	pair.value = *reader->at == '"' ? read_string(reader) : read_word(reader);
	if (pair.value == NULL) {
		free(pair.key);
		return false;
	}
	return keep(reader, configuration, pair);
}

static bool
read_object(struct reader *reader, struct json_config *configuration)
{
	if (!take(reader, '{', "expected an object, {\"key\":\"value\"}")) {
		return false;
	}
	skip_space(reader);
	if (*reader->at == '}') {
		reader->at++;
	} else {
		do {
			if (!read_pair(reader, configuration)) {
				return false;
			}
			skip_space(reader);
		} while (*reader->at == ',' && reader->at++ != NULL);
		if (!take(reader, '}', "expected ',' or '}' behind a value")) {
			return false;
		}
	}
	skip_space(reader);
	return *reader->at == '\0' || fail(reader, "there is something behind the object");
}

enum status
json_config_read(const char *json, struct json_config *configuration, struct error *error)
{
	struct reader reader = {.start = json, .at = json};

	*configuration = (struct json_config){0};
	if (read_object(&reader, configuration)) {
		return STATUS_OK;
	}
	json_config_fini(configuration);
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "the cache's configuration is not the JSON object that it should be: %s, at byte %zu",
			 reader.what, (size_t)(reader.at - reader.start));
}

void
json_config_fini(struct json_config *configuration)
{
	for (size_t i = 0; i < configuration->count; i++) {
		free_pair(&configuration->pairs[i]);
	}
	free(configuration->pairs);
	*configuration = (struct json_config){0};
}
