/*
 * What this program gives a store's lane as its host: a loop's watches, timers and name look-ups, and threads for long
 * work.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_CACHE_HOST_H
#define HIPPOCAMP_INFERENCE_CACHE_CACHE_HOST_H

#include "caches/cache.h"
#include "loop/loop.h"
#include "loop/offload.h"

/* The threads for a lane's long work, and the loop on which its completion is delivered. All outlive the host. */
struct cache_host_offload {
	struct offload *offload;
	struct loop *loop;
};

/* `offload` NULL: the lane does long work itself. */
void cache_host_init(struct cache_host *host, struct loop *loop, struct cache_host_offload *offload);

#endif
