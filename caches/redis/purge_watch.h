/*
 * How a tier in front of Redis learns of purges by other servers. <prefix>:purges is a hash with one field for each
 * model (and version) that was purged, whose value is "<random number>.<ms since 1970>" of the last purge. The number
 * is random because a count would start again when Redis loses its data.
 *
 * Watchers read the hash after every connection and every 5 s. Where the server speaks RESP3, client-side caching
 * (https://redis.io/docs/latest/develop/reference/client-side-caching/) also tells them at once that it has changed.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_PURGE_WATCH_H
#define HIPPOCAMP_CACHES_REDIS_PURGE_WATCH_H

#include "caches/redis/topology/topology.h"

struct purge_mark;

/* The owner embeds it and fills `topology`; purges are reported to the host's `purged`. */
struct purge_watch {
	struct redis_topology *topology;
	bool asked;	     /* HGETALL is in flight */
	bool again;	     /* the hash has changed meanwhile */
	bool tracking_told;  /* logged that CLIENT TRACKING was refused */
	bool refused_told;   /* logged that HGETALL was refused */
	uint64_t refused_ns; /* when HGETALL was refused; 0: it was not */
	uint64_t checked_ns;
	struct purge_mark *marks;
	size_t mark_count;
	bool known; /* the hash has been read once: what changes from now on is a purge */
};

/* Asks for notifications of purges on a new connection. */
void purge_watch_link(struct purge_watch *watch, struct redis_link *link);
void purge_watch_check(struct purge_watch *watch);
void purge_watch_pushed(struct purge_watch *watch, const struct redis_reply *reply);
void purge_watch_fini(struct purge_watch *watch);

/* Tells the other servers which model and version were purged. */
void purge_watch_tell(struct redis_topology *topology, const struct cache_purge *purge);

#endif
