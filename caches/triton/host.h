/*
 * The host's side of Triton's cache interface (include/hippocamp/tritoncache.h): what a plug-in finds in the program
 * that loads it. host.c and host_metrics.c define the TRITONSERVER_ and TRITONCACHE_ functions that a cache may call; a
 * program that links them exports them by exports.list. Plug-ins that were linked with Triton's library make the loader
 * look for libtritonserver.so: stub.c is an empty library of that name, since the program itself has the functions.
 *
 * For each call of a plug-in the host makes an entry, and an allocator with the function that copies.
 *
 * Threads: an entry, allocator, attribute or error is used on one thread; metrics and the log may be used on any.
 */
#ifndef HIPPOCAMP_CACHES_TRITON_HOST_H
#define HIPPOCAMP_CACHES_TRITON_HOST_H

#include "base/metric.h"
#include "include/hippocamp/tritoncache.h"

struct TRITONSERVER_BufferAttributes {
	size_t size;
	TRITONSERVER_MemoryType type;
	int64_t type_id;
};

struct host_buffer {
	void *base;
	struct TRITONSERVER_BufferAttributes attributes;
};

#define HOST_BUFFERS_MAX 16 /* Triton uses one */

struct TRITONCACHE_CacheEntry {
	struct host_buffer buffers[HOST_BUFFERS_MAX];
	size_t count;
};

#define EXPORTED __attribute__((visibility("default"))) /* for functions that plug-ins look up */

/* TRITONCACHE_Copy calls `copy`. Whoever makes an allocator embeds it. */
struct TRITONCACHE_Allocator {
	TRITONSERVER_Error *(*copy)(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry);
};

/*
 * Emits the metrics that plug-ins have registered and not deleted. Names that begin as our own do, with hippocamp_, get
 * the prefix plugin_.
 */
void host_metrics(const struct metric_sink *sink);

/*
 * Opens the empty libtritonserver.so, beside the program or where it was built. Call it once. If there is none,
 * plug-ins that need it fail to open.
 */
void host_open_stub(void);

/* An open plug-in. */
struct host_plugin {
	void *library;
	__typeof__(TRITONCACHE_CacheInitialize) *initialize;
	__typeof__(TRITONCACHE_CacheFinalize) *finalize;
	__typeof__(TRITONCACHE_CacheLookup) *lookup;
	__typeof__(TRITONCACHE_CacheInsert) *insert;
};

/*
 * Opens the file and looks up its functions; calls none of them. Returns NULL, or an error message that is valid until
 * the next call.
 */
const char *host_plugin_open(const char *path, struct host_plugin *plugin);
void host_plugin_close(struct host_plugin *plugin);

#endif
