/*
 * The store in Redis, built on the topology's commands. Private to caches/redis. attach.c: the events of a lane, from
 * attach to detach. lookup.c, insert.c, purge.c, lease.c: the commands. secret.c, purge_watch.c: what all servers that
 * share a Redis agree on.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_STORE_H
#define HIPPOCAMP_CACHES_REDIS_STORE_H

#include "caches/redis/packing.h"
#include "caches/redis/topology/lane.h"

/* --- attach.c --- */

struct cache_lane *redis_attach(struct cache *cache, const struct cache_host *host);
void redis_detach(struct cache_lane *lane);

/* --- lookup.c, insert.c, purge.c, lease.c --- */

/* Writes an entry's name (see entry_key.h) to lane->key, where it is valid until the next call. */
struct bytes lane_key(struct cache_lane *lane, const struct cache_key *key);
/* The cluster slot of the entry's name; 0 outside a cluster. */
uint16_t lane_slot(struct cache_lane *lane, const struct cache_key *key);
void lane_note_size(struct cache_lane *lane, const struct cache_key *key, size_t length);
size_t lane_expected_size(const struct cache_lane *lane, const struct cache_key *key);

/* Whether a value is large enough to delay others on the same connection. */
static inline bool
lane_is_large(size_t length)
{
	return length > 65536;
}

bool redis_lookup(struct cache_lane *lane, struct cache_lookup *lookup);
bool redis_insert(struct cache_lane *lane, struct cache_insert *insert);
void redis_remove(struct cache_lane *lane, const struct cache_key *key);
const char *redis_trouble(struct cache_lane *lane);
void redis_try_again(struct cache_lane *lane);
bool redis_purge(struct cache_lane *lane, struct cache_purge *purge);
bool redis_lease(struct cache_lane *lane, struct cache_lease *lease);
void redis_release(struct cache_lane *lane, const struct cache_key *key);
void redis_reset_connections(struct cache_lane *lane);

/* --- secret.c --- */

/* Reads the shared secret, or creates it if there is none. Once it is known, checks that it has not changed. */
void secret_check(struct cache_lane *lane);

/* --- purge_watch.c --- */

/* Asks for notifications of purges on a new connection. */
void purge_watch_link(struct cache_lane *lane, struct redis_link *link);
void purge_watch_check(struct cache_lane *lane);
void purge_watch_pushed(struct cache_lane *lane, const struct redis_reply *reply);
void purge_watch_fini(struct cache_lane *lane);

/* Tells the other servers which model and version were purged. */
void purge_watch_tell(struct cache_lane *lane, const struct cache_purge *purge);

#endif
