/*
 * --cache-config: which cache, with which options.
 */
#ifndef HIPPOCAMP_APP_CACHE_CONFIG_H
#define HIPPOCAMP_APP_CACHE_CONFIG_H

#include "app/command_line.h"
#include "inference/cache/response_cache.h"

/* *cache is NULL where caching is turned off. Errors have Triton's texts where it has them. */
enum status cache_config_open(const struct serve_settings *settings, struct response_cache **cache,
			      struct error *error);

/* What may follow --cache-config=NAME, of every store, and what is common to all. */
void cache_config_help(struct buf *out);

#endif
