/*
 * Opens the cache that --cache-config and related options configure.
 */
#ifndef HIPPOCAMP_APP_CACHE_CONFIG_H
#define HIPPOCAMP_APP_CACHE_CONFIG_H

#include "app/command_line.h"
#include "inference/cache/response_cache.h"

/* Sets *cache, or NULL where caching is off; the caller closes it. Errors have Triton's texts where it has them. */
enum status cache_config_open(const struct serve_settings *settings, struct response_cache **cache,
			      struct error *error);

/* Appends the --cache-config options of every built-in store, then those common to all stores. */
void cache_config_help(struct buf *out);

#endif
