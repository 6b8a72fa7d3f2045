/*
 * What Triton gives a cache to configure it: one flat JSON object (RFC 8259), such as {"host":"redis","port":"6379"}.
 * From the command line all values are strings; a program may give numbers and booleans, which are taken as they are
 * written. Nested values and null are refused. A key given twice: the last one counts.
 */
#ifndef HIPPOCAMP_PLUGINS_JSON_CONFIG_H
#define HIPPOCAMP_PLUGINS_JSON_CONFIG_H

#include "base/status.h"

#include <stddef.h>

/* Texts, terminated; the struct owns them. */
struct json_config_pair {
	char *key;
	char *value;
};

struct json_config {
	struct json_config_pair *pairs;
	size_t count;
};

/* On failure there is nothing to be freed. No value stands in the message: it may be a password. */
enum status json_config_read(const char *json, struct json_config *configuration, struct error *error);

/* No value is left in memory. */
void json_config_fini(struct json_config *configuration);

#endif
