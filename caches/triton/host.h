/*
 * The host's side of Triton's cache interface (include/hippocamp/tritoncache.h): what a plug-in finds in the program
 * that loads it. host.c and host_metrics.c define the TRITONSERVER_ and TRITONCACHE_ functions that a cache may call; a
 * program that links them exports them by exports.list. Plug-ins that were linked with Triton's library ask the loader
 * for one of the name libtritonserver.so: stub.c is an empty library of that name, since the functions are the
 * program's.
 *
 * A host makes an allocator for each call, with the function that is to copy, and an entry.
 *
 * Threads: entries, allocators, attributes and errors are of one thread; metrics and the log may be used on any.
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

#define HOST_BUFFERS_MAX 16 /* Triton takes one */

struct TRITONCACHE_CacheEntry {
	struct host_buffer buffers[HOST_BUFFERS_MAX];
	size_t count;
};

#define EXPORTED __attribute__((visibility("default"))) /* of what plug-ins look for */

/* Called by TRITONCACHE_Copy. Whoever makes one embeds it. */
struct TRITONCACHE_Allocator {
	TRITONSERVER_Error *(*copy)(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry);
};

/* What plug-ins have registered, and not deleted. A name of our own page's, hippocamp_…, becomes plugin_hippocamp_…. */
void host_metrics(const struct metric_sink *sink);

/* Opens the library of Triton's name, beside the program or where it was built. Once; what is missing is found later.
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

/* Opens the file and finds its functions; calls none of them. NULL, or what is wrong, which is valid until the next
 * call. */
const char *host_plugin_open(const char *path, struct host_plugin *plugin);
void host_plugin_close(struct host_plugin *plugin);

#endif
