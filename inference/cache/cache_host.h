/*
 * What a store's lane gets from its host in this program: the loop's watches, timers and name look-ups, and
 * threads for what takes long.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_CACHE_HOST_H
#define HIPPOCAMP_INFERENCE_CACHE_CACHE_HOST_H

#include "caches/cache.h"
#include "loop/loop.h"
#include "loop/offload.h"

/* Who works for the lane, and to which loop what was done comes back. All outlive the host. */
struct cache_host_offload {
	struct offload *offload;
	struct loop *loop;
};

/* `offload` is NULL where there is none. */
void cache_host_init(struct cache_host *host, struct loop *loop, struct cache_host_offload *offload);

#endif
