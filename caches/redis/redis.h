/*
 * A store in a Redis or Valkey server. Each response is one string, written with SET … PX and read with GET or MGET.
 *
 * Each loop has its own connections, asynchronous and pipelined; nothing here blocks. A server that is down, silent or
 * wrong costs hits, never a request: look-ups fail at once while there is no connection or the connection stalls,
 * inserts are dropped, and the connection is reopened in the background.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_REDIS_H
#define HIPPOCAMP_CACHES_REDIS_REDIS_H

#include "caches/cache.h"

extern const struct cache_ops cache_redis_ops;

#endif
