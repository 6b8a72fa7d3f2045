#include "caches/null/null.h"

#include "base/metric.h"

#include <stdio.h>
#include <stdlib.h>

struct cache {
	counter lookups;
	counter inserts;
};

struct cache_lane {
	struct cache *cache;
};

static struct cache *
null_open(void *settings, bool secret_wanted, struct error *error)
{
	struct cache *cache = calloc(1, sizeof(*cache));

	(void)secret_wanted;
	free(settings);
	if (cache == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
	}
	return cache;
}

static void
null_close(struct cache *cache)
{
	free(cache);
}

static struct cache_lane *
null_attach(struct cache *cache, const struct cache_host *host)
{
	struct cache_lane *lane = calloc(1, sizeof(*lane));

	(void)host;
	if (lane != NULL) {
		lane->cache = cache;
	}
	return lane;
}

static void
null_detach(struct cache_lane *lane)
{
	free(lane);
}

static bool
null_lookup(struct cache_lane *lane, struct cache_lookup *lookup)
{
	counter_add(&lane->cache->lookups, lookup->count);
	return true;
}

static bool
null_insert(struct cache_lane *lane, struct cache_insert *insert)
{
	(void)insert;
	counter_add(&lane->cache->inserts, 1);
	return true;
}

static bool
null_purge(struct cache_lane *lane, struct cache_purge *purge)
{
	(void)lane;
	purge->removed = 0;
	return true;
}

static void
null_statistics(struct cache *cache, struct cache_statistics *statistics)
{
	*statistics = (struct cache_statistics){
		.lookups = counter_read(&cache->lookups),
		.inserts = counter_read(&cache->inserts),
	};
}

static void
null_describe(struct cache *cache, char *text, size_t size)
{
	(void)cache;
	(void)snprintf(text, size, "null (keeps nothing)");
}

const struct cache_ops cache_null_ops = {
	.name = "null",
	.synchronous = true,
	.settings_size = 1,
	.open = null_open,
	.close = null_close,
	.attach = null_attach,
	.detach = null_detach,
	.lookup = null_lookup,
	.insert = null_insert,
	.purge = null_purge,
	.statistics = null_statistics,
	.describe = null_describe,
};
