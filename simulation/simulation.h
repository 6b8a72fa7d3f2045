/*
 * What a cache of some size would have made of recorded look-ups. The local store is simulated by itself, a miniature
 * of it where keys are sampled: a cache of the share R of the size, which sees the share R of all keys, has about the
 * same hit ratio (Waldspurger, Saemundsson, Ahmad and Park, "Cache Modeling and Optimization using Miniature
 * Simulations", USENIX ATC 2017; the keys by their hash, and the correction of the counts, as in SHARDS: Waldspurger et
 * al., FAST 2015). Redis is simulated as a cache that evicts what was used least recently.
 */
#ifndef HIPPOCAMP_SIMULATION_SIMULATION_H
#define HIPPOCAMP_SIMULATION_SIMULATION_H

#include "simulation/trace_file.h"

enum simulated_store {
	SIMULATED_LOCAL, /* each server has a cache of this size */
	SIMULATED_REDIS, /* all servers share one of this size */
};

struct simulation_options {
	enum simulated_store store;
	uint64_t size;	 /* bytes */
	uint64_t ttl_ms; /* 0: entries do not expire */
	double share;	 /* of the recorded keys, above 0 to 1: all */
};

struct simulation_result {
	double hit_ratio;
	double saved_share; /* of the compute time of all look-ups */
	uint64_t evictions; /* as if all keys had been recorded and simulated */
};

/* Sizes are those of a cache for all keys, also where a share of them is recorded. False: there is no memory. */
bool simulate(const struct trace *trace, const struct simulation_options *options, struct simulation_result *result);

/* What one look-up's answer takes of a store's size. */
uint64_t simulated_charge(enum simulated_store store, uint32_t bytes);

/* What a store would hold in which nothing is evicted: of the server with the most, or of the shared one. */
struct simulated_footprint {
	uint64_t bytes;
	size_t keys; /* of all stores */
};
struct simulated_footprint simulated_footprint(const struct trace *trace, enum simulated_store store);

#endif
