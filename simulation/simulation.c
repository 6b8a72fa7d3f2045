#include "simulation/simulation.h"

#include "base/clock.h"
#include "base/memory.h"
#include "caches/local/shard.h"
#include "simulation/lru.h"

#include <math.h>
#include <stdlib.h>

#define REDIS_OVERHEAD 120 /* bytes of an entry's key, objects and tables in Redis 7 */
#define HASH_BITS 24	   /* of a key, which say whether it is sampled */

/* The store of one server, or the one that all share. */
struct model_store {
	struct shard shard; /* of SIMULATED_LOCAL */
	struct lru *lru;    /* of SIMULATED_REDIS */
};

struct run {
	const struct simulation_options *options;
	struct model_store *stores;
	size_t store_count;
	uint64_t asked;
	uint64_t hits;
	double asked_us;
	double saved_us;
	double all_us; /* also of look-ups that are not sampled */
};

uint64_t
simulated_charge(enum simulated_store store, uint32_t bytes)
{
	return store == SIMULATED_LOCAL ? shard_charge(bytes) : (uint64_t)bytes + REDIS_OVERHEAD;
}

/* Spreads keys, whose bits choose places in tables, too (the finalizer of MurmurHash3). */
static uint64_t
hash_of(uint64_t key)
{
	key = (key ^ key >> 33) * UINT64_C(0xff51afd7ed558ccd);
	key = (key ^ key >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return key ^ key >> 33;
}

static bool
is_sampled(uint64_t key, double share)
{
	return share >= 1 || (double)(hash_of(key) >> (64 - HASH_BITS)) < ldexp(share, HASH_BITS);
}

/* --- Stores --- */

static bool
open_stores(struct run *run, const struct trace *trace)
{
	const struct simulation_options *options = run->options;
	uint64_t size = (uint64_t)((double)options->size * options->share * trace->share);
	bool good = true;

	run->store_count = options->store == SIMULATED_LOCAL ? trace->servers : 1;
	if (posix_memalign((void **)&run->stores, 64, run->store_count * sizeof(*run->stores)) != 0) {
		run->store_count = 0;
		return false;
	}
	for (size_t i = 0; i < run->store_count; i++) {
		good = shard_init(&run->stores[i].shard, size) && good;
		run->stores[i].lru = options->store == SIMULATED_REDIS ? lru_new(size) : NULL;
	}
	return good;
}

static void
close_stores(struct run *run)
{
	for (size_t i = 0; i < run->store_count; i++) {
		shard_fini(&run->stores[i].shard);
		lru_free(run->stores[i].lru);
	}
	free(run->stores);
}

static struct digest_value
digest_of(uint64_t key)
{
	struct digest_value digest = {.length = 2 * sizeof(key)};
	uint64_t spread = hash_of(key);

	memcpy(digest.bytes, &key, sizeof(key));
	memcpy(digest.bytes + sizeof(key), &spread, sizeof(spread)); /* by which the shard finds it */
	return digest;
}

static void
put_local(struct shard *shard, const struct digest_value *digest, const struct lookup *lookup, uint64_t expires_ms)
{
	const struct shard_entry entry = {.cost_us = lookup->cost_us, .expires_ns = expires_ms * NS_PER_MS};
	struct blob *value = blob_new(0);

	memory_check(value != NULL);
	value->length = lookup->bytes; /* nobody reads it: only its length counts */
	shard_put(shard, digest, &entry, value, CACHE_PUT, lookup->time_ms * NS_PER_MS);
	blob_unref(value);
}

/* Asks the store; what is not there is there afterwards. */
static bool
ask(struct run *run, const struct lookup *lookup)
{
	struct model_store *store = &run->stores[run->store_count == 1 ? 0 : lookup->server];
	uint64_t expires_ms = run->options->ttl_ms == 0 ? 0 : lookup->time_ms + run->options->ttl_ms;
	struct digest_value digest;
	struct blob *value;

	if (store->lru != NULL) {
		if (lru_get(store->lru, lookup->key, lookup->time_ms)) {
			return true;
		}
		lru_put(store->lru, lookup->key, simulated_charge(SIMULATED_REDIS, lookup->bytes), expires_ms);
		return false;
	}
	digest = digest_of(lookup->key);
	value = shard_get(&store->shard, &digest, lookup->time_ms * NS_PER_MS, CACHE_COUNT_ALL);
	if (value == NULL) {
		put_local(&store->shard, &digest, lookup, expires_ms);
	}
	blob_unref(value);
	return value != NULL;
}

/* --- The run --- */

static uint64_t
count_evictions(const struct run *run, double share)
{
	uint64_t evictions = 0;

	for (size_t i = 0; i < run->store_count; i++) {
		const struct model_store *store = &run->stores[i];

		evictions += store->lru != NULL ? lru_evictions(store->lru) : store->shard.evictions;
	}
	return (uint64_t)((double)evictions / share);
}

static double
corrected(double found, double asked, double expected)
{
	double ratio = expected > 0 ? (found + expected - asked) / expected : 0;

	return ratio < 0 ? 0 : ratio;
}

/*
 * If the sample has fewer look-ups than its share of all, popular keys are not in it, which are hits; if more, there
 * are too many of them (SHARDS-adj). Likewise for their costs.
 */
static void
conclude(const struct run *run, const struct trace *trace, struct simulation_result *result)
{
	double share = run->options->share;

	*result = (struct simulation_result){
		.hit_ratio = corrected((double)run->hits, (double)run->asked, (double)trace->count * share),
		.saved_share = corrected(run->saved_us, run->asked_us, run->all_us * share),
		.evictions = count_evictions(run, share * trace->share),
	};
}

bool
simulate(const struct trace *trace, const struct simulation_options *options, struct simulation_result *result)
{
	struct run run = {.options = options};
	bool good = open_stores(&run, trace);

	for (size_t i = 0; i < trace->count && good; i++) {
		const struct lookup *lookup = &trace->lookups[i];

		run.all_us += (double)lookup->cost_us;
		if (is_sampled(lookup->key, options->share)) {
			bool hit = ask(&run, lookup);

			run.asked++;
			run.asked_us += (double)lookup->cost_us;
			run.hits += hit;
			run.saved_us += hit ? (double)lookup->cost_us : 0;
		}
	}
	if (good) {
		conclude(&run, trace, result);
	}
	close_stores(&run);
	return good;
}

/* Puts all keys into stores without a limit. */
struct simulated_footprint
simulated_footprint(const struct trace *trace, enum simulated_store store)
{
	size_t count = store == SIMULATED_LOCAL ? trace->servers : 1;
	struct lru **lrus = memory_array(count + 1, sizeof(*lrus));
	struct simulated_footprint footprint = {0};

	for (size_t i = 0; i < count; i++) {
		lrus[i] = lru_new(UINT64_MAX);
	}
	for (size_t i = 0; i < trace->count; i++) {
		const struct lookup *lookup = &trace->lookups[i];
		struct lru *lru = lrus[count == 1 ? 0 : lookup->server];

		if (!lru_get(lru, lookup->key, lookup->time_ms)) {
			lru_put(lru, lookup->key, simulated_charge(store, lookup->bytes), 0);
		}
	}
	for (size_t i = 0; i < count; i++) {
		footprint.bytes = lru_used(lrus[i]) > footprint.bytes ? lru_used(lrus[i]) : footprint.bytes;
		footprint.keys += lru_count(lrus[i]);
		lru_free(lrus[i]);
	}
	footprint.bytes = (uint64_t)((double)footprint.bytes / trace->share);
	footprint.keys = (size_t)((double)footprint.keys / trace->share);
	free(lrus);
	return footprint;
}
