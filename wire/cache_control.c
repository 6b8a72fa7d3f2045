#include "wire/cache_control.h"

#include "wire/field.h"

#define SECONDS_MAX ((uint64_t)1 << 31) /* RFC 9111, section 1.2.2: replaces larger values */

/* Parses a number of seconds, which may be quoted. */
static bool
read_seconds(struct bytes text, uint64_t *seconds)
{
	uint64_t number = 0;

	if (text.length >= 2 && *text.at == '"' && text.at[text.length - 1] == '"') {
		text = bytes_make(text.at + 1, text.length - 2);
	}
	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] < '0' || text.at[i] > '9') {
			return false;
		}
		number = number > SECONDS_MAX ? SECONDS_MAX : number * 10 + text.at[i] - '0';
	}
	*seconds = number > SECONDS_MAX ? SECONDS_MAX : number;
	return text.length > 0;
}

static void
read_directive(struct cache_control *control, struct bytes name, struct bytes value)
{
	if (bytes_equal_nocase(name, "no-cache")) {
		control->no_cache = true;
	} else if (bytes_equal_nocase(name, "no-store")) {
		control->no_store = true;
	} else if (bytes_equal_nocase(name, "only-if-cached")) {
		control->only_if_cached = true;
	} else if (bytes_equal_nocase(name, "max-age")) {
		control->has_max_age = read_seconds(value, &control->max_age_s) || control->has_max_age;
	} else if (bytes_equal_nocase(name, "max-stale") && value.length == 0) {
		control->has_max_stale = true;
		control->max_stale_s = UINT64_MAX;
	} else if (bytes_equal_nocase(name, "max-stale")) {
		control->has_max_stale = read_seconds(value, &control->max_stale_s) || control->has_max_stale;
	}
}

struct cache_control
cache_control_parse(struct bytes field)
{
	struct cache_control control = {0};

	while (field.length > 0) {
		struct bytes value = field_take_until(&field, ',');
		struct bytes name = field_take_until(&value, '=');

		read_directive(&control, name, field_trim(value));
	}
	return control;
}
