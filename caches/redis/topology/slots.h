/*
 * Redis Cluster's division of the keys: which of the 16384 slots a key is in, and who serves each slot.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_TOPOLOGY_SLOTS_H
#define HIPPOCAMP_CACHES_REDIS_TOPOLOGY_SLOTS_H

#include "caches/redis/connection/address.h"

#include <valkey/valkey.h>

#define REDIS_SHARD_MAX 1024
#define REDIS_REPLICA_MAX 8
#define REDIS_NO_SHARD 0xffff

struct redis_slots_node {
	struct redis_address address;
	char zone[64]; /* availability zone, where the server names one; else "" */
};

/* A primary and its replicas; those beyond the maximum are left out. */
struct redis_slots_shard {
	struct redis_slots_node primary;
	struct redis_slots_node replicas[REDIS_REPLICA_MAX];
	size_t replica_count;
};

struct redis_slots {
	struct redis_slots_shard *shards;
	size_t shard_count;
	uint16_t shard_of[REDIS_SLOT_COUNT]; /* index into shards; REDIS_NO_SHARD where nobody serves the slot */
};

/* Returns the slot of a key: that of the part in the first pair of braces if it is not empty, else of the whole key. */
uint16_t redis_slot(struct bytes key);

/*
 * Reads the reply to CLUSTER SLOTS of a server that was reached at `asked`. Ranges with the same primary form one
 * shard.
 *
 * The reply is not trusted. A node without a usable address is left out; if it is a primary, nobody serves its range.
 * Returns false if the reply is malformed, a slot occurs twice, there are more than REDIS_SHARD_MAX shards, nobody
 * serves any slot, or memory runs out; there is then nothing to release.
 */
bool redis_slots_read(const valkeyReply *reply, const struct redis_address *asked, struct redis_slots *slots);

void redis_slots_fini(struct redis_slots *slots);

#endif
