/*
 * What `--cache-config <name>,<key>=<value>` sets in a plug-in: the options of its store (those of NVIDIA's caches by
 * the same names among them), and a few that are common to all plug-ins, by the names that they have in `hippocamp
 * serve`.
 */
#ifndef HIPPOCAMP_PLUGINS_SETTINGS_H
#define HIPPOCAMP_PLUGINS_SETTINGS_H

#include "caches/cache.h"

struct plugin_settings {
	char *name_space;
	char *generation;
	char *generation_file;
	char *key_secret_file;
	int64_t ttl_s; /* 0: no end */
	int64_t lookup_timeout_ms;
	int64_t max_value_bytes; /* 0: no limit */

	/* From the store's options, where it has them. */
	size_t lanes;		/* pool_size: each has a connection to a server */
	uint64_t waiting_bytes; /* write_behind_size: responses on their way to the store at most */
};

extern const struct option_table plugin_options;

/*
 * Reads the JSON that Triton gives. *store_settings is from malloc, for cache_ops.open. On failure there is nothing to
 * be freed.
 */
enum status plugin_settings_read(const struct cache_ops *ops, const char *json, struct plugin_settings *settings,
				 void **store_settings, struct error *error);
void plugin_settings_fini(struct plugin_settings *settings);

#endif
