/*
 * What a store's lane gets from its host in this program: the loop's watches, timers and name look-ups.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_CACHE_HOST_H
#define HIPPOCAMP_INFERENCE_CACHE_CACHE_HOST_H

#include "caches/cache.h"
#include "loop/loop.h"

void cache_host_init(struct cache_host *host, struct loop *loop);

#endif
