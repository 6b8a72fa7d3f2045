/*
 * The settings of a plug-in, given as `--cache-config <name>,<key>=<value>`: the options of its store (among them those
 * of NVIDIA's caches, by the same names), and a few that all plug-ins have, named as in `hippocamp serve`.
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

	/* Taken from the store's options, if it has them. */
	size_t clients;		/* pool_size: each has a connection to a server */
	uint64_t waiting_bytes; /* write_behind_size: at most so many bytes wait to be stored */
};

extern const struct option_table plugin_options;

/*
 * Reads the JSON that Triton gives. *store_settings is from malloc; cache_ops.open takes it over. On failure there is
 * nothing to free.
 */
enum status plugin_settings_read(const struct cache_ops *ops, const char *json, struct plugin_settings *settings,
				 void **store_settings, struct error *error);
void plugin_settings_fini(struct plugin_settings *settings);

#endif
