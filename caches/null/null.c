#include "caches/null/null.h"

#include "base/metric.h"

#include <stdio.h>
#include <stdlib.h>

struct null_cache {
	counter lookups;
	counter inserts;
};

struct null_lane {
	struct null_cache *cache;
};

static struct null_cache *
cache_of(struct cache *cache)
{
	return (struct null_cache *)cache;
}

static struct null_lane *
lane_of(struct cache_lane *lane)
{
	return (struct null_lane *)lane;
}

static struct cache *
null_open(void *settings, bool secret_wanted, struct error *error)
{
	struct null_cache *cache = calloc(1, sizeof(*cache));

	(void)secret_wanted;
	free(settings);
	if (cache == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
	}
	return (struct cache *)cache;
}

static void
null_close(struct cache *base)
{
	free(base);
}

static struct cache_lane *
null_attach(struct cache *base, const struct cache_host *host)
{
	struct null_lane *lane = calloc(1, sizeof(*lane));

	(void)host;
	if (lane != NULL) {
		lane->cache = cache_of(base);
	}
	return (struct cache_lane *)lane;
}

static void
null_detach(struct cache_lane *base)
{
	free(base);
}

static bool
null_lookup(struct cache_lane *base, struct cache_lookup *lookup)
{
	counter_add(&lane_of(base)->cache->lookups, lookup->count);
	return true;
}

static bool
null_insert(struct cache_lane *base, struct cache_insert *insert)
{
	(void)insert;
	counter_add(&lane_of(base)->cache->inserts, 1);
	return true;
}

static bool
null_purge(struct cache_lane *base, struct cache_purge *purge)
{
	(void)base;
	purge->removed = 0;
	return true;
}

static void
null_statistics(struct cache *base, struct cache_statistics *statistics)
{
	const struct null_cache *cache = cache_of(base);

	*statistics = (struct cache_statistics){
		.lookups = counter_read(&cache->lookups),
		.inserts = counter_read(&cache->inserts),
	};
}

static void
null_describe(struct cache *base, char *text, size_t size)
{
	(void)base;
	(void)snprintf(text, size, "null (keeps nothing)");
}

const struct cache_ops cache_null_ops = {
	.name = "null",
	.synchronous = true,
	.settings_size = 1, /* of the struct of settings, where there are options */
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
