/*
 * The secret from which cache keys are made. All servers that share a Redis share it: the first server stores a random
 * one, and all check every 5 s whether it is still the same, since it may be flushed or evicted.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_SECRET_H
#define HIPPOCAMP_CACHES_REDIS_SECRET_H

#include "caches/redis/topology/topology.h"

/* The owner embeds it and fills the first three. */
struct redis_secret {
	struct redis_topology *topology;
	bool wanted; /* keys are made from it */
	void (*learnt)(struct redis_secret *secret);
	bool known;
	bool asked; /* a command is in flight */
	uint64_t checked_ns;
	struct cache_secret value;
};

/*
 * Reads the shared secret, or creates it if there is none. Once it is known, checks that it has not changed. `learnt`
 * is called when the secret becomes known, and when another one takes its place; not before this returns.
 */
void redis_secret_check(struct redis_secret *secret);

#endif
