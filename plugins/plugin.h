/*
 * The response cache of a foreign Triton: one of our stores behind the four functions of TRITONCACHE. entry_points.c
 * exports these; each plug-in is built of it and of a plugin_store of its own.
 *
 * A look-up runs on the thread that asks, for `lookup_timeout` at most; an insert is copied, and stored behind the
 * answer. Whatever goes wrong is a miss or a response that is not stored, counted, never an error of the request. What
 * is there already is not replaced.
 */
#ifndef HIPPOCAMP_PLUGINS_PLUGIN_H
#define HIPPOCAMP_PLUGINS_PLUGIN_H

#include "caches/cache.h"
#include "include/hippocamp/tritoncache.h"

struct plugin;

/* Which store this plug-in is made of; NULL where there is no memory. Called once. */
const struct cache_ops *plugin_store(void);

/* NULL on failure. The host was found before (triton_find). */
struct plugin *plugin_open(const char *json, struct error *error);
void plugin_close(struct plugin *plugin);

/* Was it a hit? Then the host has the response. `refused`: what the host said against it, the caller's. */
bool plugin_look_up(struct plugin *plugin, const char *key, TRITONCACHE_CacheEntry *entry,
		    TRITONCACHE_Allocator *allocator, TRITONSERVER_Error **refused);
void plugin_insert(struct plugin *plugin, const char *key, TRITONCACHE_CacheEntry *entry,
		   TRITONCACHE_Allocator *allocator);

#endif
