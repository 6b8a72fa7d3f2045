#include "caches/local/local.h"

#include "base/clock.h"
#include "caches/local/shard.h"

#include <stdio.h>
#include <stdlib.h>

#define SHARDS_MAX ((size_t)64)
#define FREED_AT_ONCE 1000
#define SHARD_BUDGET_MIN ((uint64_t)16 << 20) /* so that one shard still takes responses of many megabytes */

struct local_settings {
	int64_t size;
};

static const struct option options[] = {
	{
		.name = "size",
		.kind = OPTION_SIZE,
		.offset = offsetof(struct local_settings, size),
		.preset = "64MiB",
		.minimum = 1024,
		.maximum = INT64_MAX,
		.unit = "bytes",
		.help = "memory for responses, their book-keeping included",
	},
};

static const struct option_table table = {options, sizeof(options) / sizeof(*options)};

struct local_cache {
	uint64_t size;
	size_t shard_count; /* a power of two */
	struct shard shards[];
};

struct local_lane {
	struct local_cache *cache;
	const struct cache_host *host;
};

static struct local_cache *
cache_of(struct cache *cache)
{
	return (struct local_cache *)cache;
}

static struct local_lane *
lane_of(struct cache_lane *lane)
{
	return (struct local_lane *)lane;
}

static void
free_cache(struct local_cache *cache)
{
	for (size_t i = 0; i < cache->shard_count; i++) {
		shard_fini(&cache->shards[i]);
	}
	free(cache);
}

static void
local_close(struct cache *base)
{
	free_cache(cache_of(base));
}

static struct cache *
local_open(void *settings, bool secret_wanted, struct error *error)
{
	uint64_t size = (uint64_t)((struct local_settings *)settings)->size;
	size_t count = 1;
	struct local_cache *cache;
	bool good = true;

	(void)secret_wanted;
	free(settings);
	while (count < SHARDS_MAX && size / (count * 2) >= SHARD_BUDGET_MIN) {
		count *= 2;
	}
	cache = aligned_alloc(_Alignof(struct local_cache), sizeof(*cache) + count * sizeof(cache->shards[0]));
	if (cache != NULL) {
		cache->size = size;
		cache->shard_count = count;
		for (size_t i = 0; i < count; i++) {
			good = shard_init(&cache->shards[i], size / count) && good;
		}
	}
	if (cache == NULL || !good) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the local cache");
		if (cache != NULL) {
			free_cache(cache);
		}
		return NULL;
	}
	return (struct cache *)cache;
}

static struct cache_lane *
local_attach(struct cache *base, const struct cache_host *host)
{
	struct local_cache *cache = cache_of(base);
	struct local_lane *lane = calloc(1, sizeof(*lane));

	if (lane != NULL) {
		lane->cache = cache;
		lane->host = host;
	}
	return (struct cache_lane *)lane;
}

static void
local_detach(struct cache_lane *base)
{
	struct local_lane *lane = lane_of(base);

	free(lane);
}

static struct shard *
shard_of(struct local_lane *lane, const struct cache_key *key)
{
	return &lane->cache->shards[key->digest.bytes[0] & (lane->cache->shard_count - 1)];
}

static bool
local_lookup(struct cache_lane *base, struct cache_lookup *lookup)
{
	struct local_lane *lane = lane_of(base);

	for (size_t i = 0; i < lookup->count; i++) {
		lookup->values[i] = shard_get(shard_of(lane, &lookup->keys[i]), &lookup->keys[i].digest, lookup->now_ns,
					      lookup->counted);
	}
	return true;
}

static bool
local_insert(struct cache_lane *base, struct cache_insert *insert)
{
	struct local_lane *lane = lane_of(base);
	uint64_t now_ns = clock_now_ns();
	struct shard_entry entry = {
		.expires_ns = insert->ttl_ms == 0 ? 0 : now_ns + insert->ttl_ms * NS_PER_MS,
		.cost_us = insert->cost_us,
	};
	struct bytes model;
	struct bytes version;

	cache_scope_split(insert->key->scope, &model, &version);
	entry.scope = (struct shard_scope){checksum64(model), checksum64(version)};
	shard_put(shard_of(lane, insert->key), &insert->key->digest, &entry, insert->value, insert->mode, now_ns);
	return true;
}

static void
local_remove(struct cache_lane *base, const struct cache_key *key)
{
	shard_remove(shard_of(lane_of(base), key), &key->digest);
}

/* Entries that were purged, on their way to a thread that frees them. */
struct freeing {
	struct cache_work work; /* first */
	struct shard_node *removed;
};

static void
free_apart(struct cache_work *work)
{
	shard_free_removed(((struct freeing *)work)->removed);
}

static void
on_freed(struct cache_work *work)
{
	free(work);
}

/* Freeing some hundred thousand entries takes a second, in which the loop would answer nobody. */
static void
free_removed(const struct local_lane *lane, struct shard_node *removed, uint64_t count)
{
	struct freeing *freeing =
		count < FREED_AT_ONCE || lane->host->offload == NULL ? NULL : malloc(sizeof(*freeing));

	if (freeing == NULL) {
		shard_free_removed(removed);
		return;
	}
	*freeing = (struct freeing){.work = {.run = free_apart, .done = on_freed}, .removed = removed};
	lane->host->offload(lane->host->offload_context, &freeing->work, (size_t)count * sizeof(struct blob));
}

static bool
local_purge(struct cache_lane *base, struct cache_purge *purge)
{
	struct local_lane *lane = lane_of(base);
	struct shard_scope scope = {purge->model.length == 0 ? 0 : checksum64(purge->model),
				    purge->version.length == 0 ? 0 : checksum64(purge->version)};
	struct shard_node *removed = NULL;

	purge->removed = 0;
	for (size_t i = 0; i < lane->cache->shard_count; i++) {
		purge->removed += shard_purge(&lane->cache->shards[i], scope, &removed);
	}
	free_removed(lane, removed, purge->removed);
	return true;
}

static size_t
local_value_max(const struct cache *cache)
{
	return ((const struct local_cache *)cache)->shards[0].value_max;
}

static void
local_statistics(struct cache *base, struct cache_statistics *statistics)
{
	struct local_cache *cache = cache_of(base);

	*statistics = (struct cache_statistics){.capacity_bytes = cache->size};
	for (size_t i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];

		(void)pthread_mutex_lock(&shard->mutex);
		statistics->used_bytes += shard->used_bytes;
		statistics->entries += shard->entries;
		statistics->lookups += shard->lookups;
		statistics->hits += shard->hits;
		statistics->inserts += shard->inserts;
		statistics->dropped += shard->dropped;
		statistics->evictions += shard->evictions;
		(void)pthread_mutex_unlock(&shard->mutex);
	}
}

static void
local_describe(struct cache *base, char *text, size_t size)
{
	struct local_cache *cache = cache_of(base);

	(void)snprintf(text, size, "local, %llu bytes in %zu shard%s", (unsigned long long)cache->size,
		       cache->shard_count, cache->shard_count == 1 ? "" : "s");
}

const struct cache_ops cache_local_ops = {
	.name = "local",
	.synchronous = true,
	.options = &table,
	.settings_size = sizeof(struct local_settings),
	.open = local_open,
	.close = local_close,
	.attach = local_attach,
	.detach = local_detach,
	.lookup = local_lookup,
	.insert = local_insert,
	.remove = local_remove,
	.purge = local_purge,
	.value_max = local_value_max,
	.statistics = local_statistics,
	.describe = local_describe,
};
