/*
 * The store in this process's own memory: shards of counted blobs under one budget of bytes. Look-ups are answered
 * immediately.
 */
#ifndef HIPPOCAMP_CACHES_LOCAL_LOCAL_H
#define HIPPOCAMP_CACHES_LOCAL_LOCAL_H

#include "caches/cache.h"

extern const struct cache_ops cache_local_ops;

#endif
