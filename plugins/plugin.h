/*
 * The response cache of a foreign Triton: one of our stores behind the four TRITONCACHE functions that entry_points.c
 * exports. Each plug-in is built from these common files and a plugin_store of its own.
 *
 * A look-up runs on the thread that calls, for `lookup_timeout` at most. An insert copies the response; a synchronous
 * store takes it immediately, any other later, on the background thread. A failure is a miss, or a response that is not
 * stored; it is counted and never fails the request. An existing entry is not replaced.
 */
#ifndef HIPPOCAMP_PLUGINS_PLUGIN_H
#define HIPPOCAMP_PLUGINS_PLUGIN_H

#include "caches/cache.h"
#include "include/hippocamp/tritoncache.h"

struct plugin;

/* The store of this plug-in; NULL where there is no memory. plugin_open calls it. */
const struct cache_ops *plugin_store(void);

/* Call triton_find before. NULL on failure. */
struct plugin *plugin_open(const char *json, struct error *error);
void plugin_close(struct plugin *plugin);

/*
 * Returns true for a hit: the host has copied the response. `refused`: the error with which the host refused a
 * response, which the caller owns, or NULL.
 */
bool plugin_look_up(struct plugin *plugin, const char *key, TRITONCACHE_CacheEntry *entry,
		    TRITONCACHE_Allocator *allocator, TRITONSERVER_Error **refused);
void plugin_insert(struct plugin *plugin, const char *key, TRITONCACHE_CacheEntry *entry,
		   TRITONCACHE_Allocator *allocator);

#endif
