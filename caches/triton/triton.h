/*
 * A store that is somebody else's plug-in for Triton, libtritoncache_<name>.so: NVIDIA's own caches, and any other. Its
 * calls block for as long as they like, so they are made on threads of the store's own, and a plug-in that is slow or
 * hangs holds no lane: what waits for it is bounded, and past the bound look-ups fail and inserts are dropped.
 *
 * It keeps our entries, each as the one output of a packed response, under a text made of our key. The interface has no
 * way to remove or replace an entry: there is no purge; and where a plug-in refuses a newer entry because there is one,
 * the key's text is changed for this process, and the older one is not found again.
 *
 * A plug-in is code in this process: if it crashes, so does the server.
 */
#ifndef HIPPOCAMP_CACHES_TRITON_TRITON_H
#define HIPPOCAMP_CACHES_TRITON_TRITON_H

#include "caches/cache.h"

/* One option of the plug-in's; we know none of them. */
struct triton_option {
	const char *key;
	const char *value;
};

/*
 * The table of such a store; nothing is opened yet. `name` and `path` outlive it, the options are copied. To be called
 * once in a process, before there are threads. NULL where there is no memory.
 */
const struct cache_ops *cache_triton_ops(const char *name, const char *path, const struct triton_option *options,
					 size_t count);

#endif
