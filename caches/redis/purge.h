/*
 * A purge in Redis: SCAN over the keys that begin with our prefix, UNLINK of those that the purge covers.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_PURGE_H
#define HIPPOCAMP_CACHES_REDIS_PURGE_H

#include "caches/redis/connection.h"

/* False if it could not begin; else purge->done is called once, never before this returns. */
bool purge_start(struct redis_connection *connection, const struct redis_settings *settings, struct cache_purge *purge);

#endif
