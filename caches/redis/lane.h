/*
 * The store in Redis, and one loop's part of it. Private to caches/redis. attach.c: the events of a lane, from attach
 * to detach. lookup.c, insert.c, purge.c, lease.c: the commands.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_LANE_H
#define HIPPOCAMP_CACHES_REDIS_LANE_H

#include "base/container_of.h"
#include "caches/redis/packing.h"
#include "caches/redis/purge_watch.h"
#include "caches/redis/secret.h"
#include "caches/redis/size_hints.h"
#include "caches/redis/topology/topology.h"

struct redis_cache {
	struct redis_settings *settings;
	struct redis_tls *tls;
	struct packing *packing;
	struct password_share *passwords; /* for password_command; NULL: not given */
	bool secret_wanted;
	_Atomic bool announcer_taken;
	struct node_board board;
	counter lookups;
	counter hits;
	counter failures;
	counter inserts;
	counter dropped;
	counter connections;
	counter breakings;
	counter refusals[REDIS_REFUSAL_COUNT];
	_Atomic uint64_t refusal_logged_ns[REDIS_REFUSAL_COUNT];
};

struct redis_lane {
	struct redis_cache *cache;
	const struct cache_host *host;
	struct redis_topology topology;
	struct redis_secret secret;
	struct purge_watch watch;
	struct redis_credentials *credentials;
	struct redis_credentials_wish renewal; /* for open connections; see password_refresh */
	uint64_t renewed_ns;
	struct redis_cork cork;
	struct packing_lane *packing;
	struct buf key; /* scratch space of lane_key */
	bool read_from_told;
	uint64_t connections;
	uint64_t connections_shown;

	uint64_t lease_token;  /* 0: not drawn yet */
	bool refused;	       /* the last value was not stored */
	bool trying;	       /* a probe is in flight; see redis_try_again */
	uint64_t insert_bytes; /* in flight, or being packed */
	uint64_t asked_bytes;  /* expected bytes of the values asked for */
	struct size_hints hints;
};

/* What the table of cache.h calls a store and a lane are these. */
static inline struct redis_cache *
redis_cache_of(struct cache *cache)
{
	return (struct redis_cache *)cache;
}

static inline struct redis_lane *
redis_lane_of(struct cache_lane *lane)
{
	return (struct redis_lane *)lane;
}

/* The lane whose command this is. */
static inline struct redis_lane *
command_lane(const struct redis_command *command)
{
	return container_of(command->topology, struct redis_lane, topology);
}

/* Whether a value is large enough to delay others on the same connection. */
static inline bool
lane_is_large(size_t length)
{
	return length > 65536;
}

/* Writes an entry's name (see entry_key.h) to lane->key, where it is valid until the next call. */
struct bytes lane_key(struct redis_lane *lane, const struct cache_key *key);

/* The cluster slot of the entry's name; 0 outside a cluster. */
uint16_t lane_slot(struct redis_lane *lane, const struct cache_key *key);

/* Has every node reconnect: a reply did not belong to its command. */
void lane_reset_connections(struct redis_lane *lane);

/* Stores a probe where the last value was refused: where few are stored, nothing else shows that Redis takes them. */
void lane_try_again(struct redis_lane *lane);

/* --- The functions of cache_redis_ops that are not in redis.c --- */

struct cache_lane *redis_attach(struct cache *cache, const struct cache_host *host);
void redis_detach(struct cache_lane *lane);
bool redis_lookup(struct cache_lane *lane, struct cache_lookup *lookup);
bool redis_insert(struct cache_lane *lane, struct cache_insert *insert);
void redis_remove(struct cache_lane *lane, const struct cache_key *key);
const char *redis_trouble(struct cache_lane *lane);
bool redis_purge(struct cache_lane *lane, struct cache_purge *purge);
bool redis_lease(struct cache_lane *lane, struct cache_lease *lease);
void redis_release(struct cache_lane *lane, const struct cache_key *key);

#endif
