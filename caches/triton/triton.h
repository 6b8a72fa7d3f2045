/*
 * A store over a Triton cache plug-in, libtritoncache_<name>.so: one of NVIDIA's or any other. Its calls may block for
 * any time, so the store makes them on its own threads, and a plug-in that is slow or hangs blocks no lane. The calls
 * that wait for it are bounded; past the bound look-ups fail and inserts are dropped.
 *
 * The plug-in keeps our entries, each as the one output of a packed response, under a text made of our key. The
 * interface cannot remove or replace an entry. So there is no purge; and where a plug-in refuses a newer entry because
 * it has an older one, this process changes the key's text and does not find the older one again.
 *
 * A plug-in is code in this process: if it crashes, so does the server.
 */
#ifndef HIPPOCAMP_CACHES_TRITON_TRITON_H
#define HIPPOCAMP_CACHES_TRITON_TRITON_H

#include "caches/cache.h"

/* One option for the plug-in, passed on as it is. */
struct triton_option {
	const char *key;
	const char *value;
};

/*
 * Returns the table of such a store; opens nothing yet. `name` and `path` outlive it, the options are copied. Call it
 * once in a process, before there are threads. NULL where there is no memory.
 */
const struct cache_ops *cache_triton_ops(const char *name, const char *path, const struct triton_option *options,
					 size_t count);

#endif
