/*
 * The configuration that Triton gives a cache: one flat JSON object (RFC 8259), such as {"host":"redis","port":"6379"}.
 * Values from the command line are all strings; a program may give numbers and booleans, which are taken as they are
 * written. Nested values and null are refused. If a key is given twice, the last one counts.
 */
#ifndef HIPPOCAMP_PLUGINS_JSON_CONFIG_H
#define HIPPOCAMP_PLUGINS_JSON_CONFIG_H

#include "base/status.h"

#include <stddef.h>

/* NUL-terminated; the struct owns them. */
struct json_config_pair {
	char *key;
	char *value;
};

struct json_config {
	struct json_config_pair *pairs;
	size_t count;
};

/* On failure there is nothing to free. The message contains no value, which may be a password. */
enum status json_config_read(const char *json, struct json_config *configuration, struct error *error);

/* Erases the values before it frees them. */
void json_config_fini(struct json_config *configuration);

#endif
