#include "base/option.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_LENGTH 64
#define NAMES_MAX 128

static void *
field(const struct option *option, void *settings)
{
	return (char *)settings + option->offset;
}

void
option_presets(struct option_table table, void *settings)
{
	struct error error;

	for (size_t i = 0; i < table.count; i++) {
		if (table.options[i].preset != NULL) {
			(void)option_set(&table.options[i], settings, table.options[i].preset, &error);
		}
	}
}

void
option_fini(struct option_table table, void *settings)
{
	for (size_t i = 0; i < table.count; i++) {
		if (table.options[i].kind == OPTION_TEXT) {
			char **text = field(&table.options[i], settings);

			if (*text != NULL && table.options[i].secret) {
				explicit_bzero(*text, strlen(*text));
			}
			free(*text);
			*text = NULL;
		}
	}
}

const struct option *
option_find(struct option_table table, struct bytes name)
{
	for (size_t i = 0; i < table.count; i++) {
		if (bytes_equal_text(name, table.options[i].name)) {
			return &table.options[i];
		}
	}
	return NULL;
}

static bool
parse_integer(const char *text, const char **end, int64_t *number)
{
	char *stop;

	errno = 0;
	*number = strtoll(text, &stop, 10);
	*end = stop;
	return stop != text && errno == 0;
}

bool
option_parse_size(const char *text, int64_t *bytes)
{
	static const struct {
		const char *suffix;
		int64_t factor;
	} units[] = {
		{"", 1},	  {"B", 1},	      {"K", 1LL << 10},	    {"M", 1LL << 20},	     {"G", 1LL << 30},
		{"T", 1LL << 40}, {"KiB", 1LL << 10}, {"MiB", 1LL << 20},   {"GiB", 1LL << 30},	     {"TiB", 1LL << 40},
		{"KB", 1000LL},	  {"MB", 1000000LL},  {"GB", 1000000000LL}, {"TB", 1000000000000LL},
	};
	const char *end;
	int64_t number;

	if (!parse_integer(text, &end, &number) || number < 0) {
		return false;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcasecmp(end, units[i].suffix) == 0) {
			return !__builtin_mul_overflow(number, units[i].factor, bytes);
		}
	}
	return false;
}

/* Converts "1h" to 3600 for an option in seconds. False if the result is no whole number of the option's unit. */
static bool
parse_duration(const char *unit, const char *suffix, int64_t *number)
{
	static const struct {
		const char *suffix;
		int64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
	int64_t each = strcmp(unit, "s") == 0 ? 1000 : 1;

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(suffix, units[i].suffix) == 0) {
			bool fits = !__builtin_mul_overflow(*number, units[i].ms, number) && *number % each == 0;

			*number /= each;
			return fits;
		}
	}
	return false;
}

static bool
is_duration(const struct option *option)
{
	return option->unit != NULL && (strcmp(option->unit, "s") == 0 || strcmp(option->unit, "ms") == 0);
}

static bool
parse_whole(const struct option *option, const char *value, int64_t *number)
{
	const char *end = "";

	return parse_integer(value, &end, number) &&
	       (*end == '\0' || (is_duration(option) && parse_duration(option->unit, end, number)));
}

static enum status
set_number(const struct option *option, void *settings, const char *value, struct error *error)
{
	int64_t number = 0;
	bool valid =
		option->kind == OPTION_SIZE ? option_parse_size(value, &number) : parse_whole(option, value, &number);

	if (option->word != NULL && strcasecmp(value, option->word) == 0) {
		*(int64_t *)field(option, settings) = 0;
		return STATUS_OK;
	}
	if (!valid || number < option->minimum || number > option->maximum) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "invalid value '%s' for '%s': expected %s%s%s between %lld and %lld%s%s", value,
				 option->name, option->word ? option->word : "", option->word ? " or " : "",
				 option->kind == OPTION_SIZE ? "a size such as 1048576, 64MB or 1GiB"
				 : is_duration(option)	     ? "a duration such as 30, 30s or 1h,"
							     : "a whole number",
				 (long long)option->minimum, (long long)option->maximum, option->unit ? " " : "",
				 option->unit ? option->unit : "");
	}
	*(int64_t *)field(option, settings) = number;
	return STATUS_OK;
}

static enum status
set_real(const struct option *option, void *settings, const char *value, struct error *error)
{
	char *end;
	double number = strtod(value, &end);

	if (end == value || *end != '\0' || !(number >= (double)option->minimum && number <= (double)option->maximum)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "invalid value '%s' for '%s': expected a number between %lld and %lld", value,
				 option->name, (long long)option->minimum, (long long)option->maximum);
	}
	*(double *)field(option, settings) = number;
	return STATUS_OK;
}

static enum status
set_boolean(const struct option *option, void *settings, const char *value, struct error *error)
{
	bool yes = strcasecmp(value, "true") == 0 || strcmp(value, "1") == 0;

	if (!yes && strcasecmp(value, "false") != 0 && strcmp(value, "0") != 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "invalid value '%s' for '%s': expected true, false, 1 or 0", value, option->name);
	}
	*(bool *)field(option, settings) = yes;
	return STATUS_OK;
}

static enum status
set_choice(const struct option *option, void *settings, const char *value, struct error *error)
{
	for (int i = 0; option->choices[i] != NULL; i++) {
		if (strcasecmp(option->choices[i], value) == 0) {
			*(int *)field(option, settings) = i;
			return STATUS_OK;
		}
	}
	(void)error_set(error, STATUS_INVALID_ARGUMENT, "invalid value '%s' for '%s': expected one of", value,
			option->name);
	for (int i = 0; option->choices[i] != NULL; i++) {
		size_t length = strlen(error->text);

		(void)snprintf(error->text + length, sizeof(error->text) - length, "%s %s", i == 0 ? "" : ",",
			       option->choices[i]);
	}
	return error->status;
}

enum status
option_set(const struct option *option, void *settings, const char *value, struct error *error)
{
	char **text;

	switch (option->kind) {
	case OPTION_TEXT:
		text = field(option, settings);
		free(*text);
		*text = memory_text(value);
		return STATUS_OK;
	case OPTION_BOOLEAN:
		return set_boolean(option, settings, value, error);
	case OPTION_INTEGER:
	case OPTION_SIZE:
		return set_number(option, settings, value, error);
	case OPTION_CHOICE:
		return set_choice(option, settings, value, error);
	case OPTION_NUMBER:
		return set_real(option, settings, value, error);
	}
	return STATUS_INTERNAL;
}

/* Levenshtein's distance, one row at a time. */
static size_t
edit_distance(struct bytes a, struct bytes b)
{
	size_t row[NAME_MAX_LENGTH + 1];

	for (size_t j = 0; j <= b.length; j++) {
		row[j] = j;
	}
	for (size_t i = 1; i <= a.length; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b.length; j++) {
			size_t best = diagonal + (a.at[i - 1] != b.at[j - 1]);

			diagonal = row[j];
			best = best < row[j] + 1 ? best : row[j] + 1;
			row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
		}
	}
	return row[b.length];
}

const char *
option_nearest(const char *const *names, size_t count, struct bytes name)
{
	const char *nearest = NULL;
	size_t best = name.length / 3 + 2;

	if (name.length > NAME_MAX_LENGTH) {
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		struct bytes candidate = bytes_text(names[i]);
		size_t distance = candidate.length > NAME_MAX_LENGTH ? best : edit_distance(name, candidate);

		if (distance < best) {
			best = distance;
			nearest = names[i];
		}
	}
	return nearest;
}

/* Returns a name that differs from the key only in its prefix: redis.host for host, ttl for redis.ttl. */
static const char *
counterpart(const char *const *names, size_t count, const char *key)
{
	const char *key_dot = strrchr(key, '.');

	for (size_t i = 0; i < count; i++) {
		const char *dot = strrchr(names[i], '.');

		if (strcmp(dot == NULL ? names[i] : dot + 1, key_dot == NULL ? key : key_dot + 1) == 0) {
			return names[i];
		}
	}
	return NULL;
}

enum status
option_unknown(const char *who, const struct option_table *tables, size_t count, const char *key, struct error *error)
{
	const char *names[NAMES_MAX] = {NULL};
	const char *nearest;
	size_t name_count = 0;

	for (size_t t = 0; t < count; t++) {
		for (size_t i = 0; i < tables[t].count && name_count < NAMES_MAX; i++) {
			names[name_count++] = tables[t].options[i].name;
		}
	}
	nearest = counterpart(names, name_count, key);
	nearest = nearest == NULL ? option_nearest(names, name_count, bytes_text(key)) : nearest;
	(void)error_set(error, STATUS_INVALID_ARGUMENT, "%s has no option '%s'%s%s%s; it has:", who, key,
			nearest == NULL ? "" : ", did you mean '", nearest == NULL ? "" : nearest,
			nearest == NULL ? "" : "'");
	for (size_t i = 0; i < name_count; i++) {
		size_t length = strlen(error->text);

		(void)snprintf(error->text + length, sizeof(error->text) - length, "%s %s", i == 0 ? "" : ",",
			       names[i]);
	}
	return error->status;
}
