#include "caches/redis/redis.h"

#include "caches/redis/lane.h"

#include <stdio.h>
#include <stdlib.h>

#define VALUE_MAX ((size_t)1 << 30)
#define DAY_S 86400

/* --- Lanes --- */

static const struct cache_secret *
redis_secret(struct cache_lane *base)
{
	const struct redis_secret *secret = &redis_lane_of(base)->secret;

	return secret->known ? &secret->value : NULL;
}

static void
redis_reset_connections(struct cache_lane *base)
{
	lane_reset_connections(redis_lane_of(base));
}

static void
redis_catch_up(struct cache_lane *base)
{
	struct redis_lane *lane = redis_lane_of(base);
	struct redis_node *node;

	TAILQ_FOREACH (node, &lane->topology.nodes, list) {
		redis_node_catch_up(node);
	}
}

/* --- The store --- */

static void
free_cache(struct redis_cache *cache)
{
	node_board_fini(&cache->board);
	redis_tls_free(cache->tls);
	password_share_free(cache->passwords);
	packing_free(cache->packing);
	redis_settings_free(cache->settings);
	free(cache);
}

static void
redis_close(struct cache *base)
{
	free_cache(redis_cache_of(base));
}

static enum status
open_parts(struct redis_cache *cache, struct error *error)
{
	const struct redis_settings *settings = cache->settings;

	cache->packing = packing_new(&(struct packing_options){
		.codec = (enum packing_codec)settings->compression,
		.level = (int)settings->compression_level,
		.minimum = (size_t)settings->compression_min_bytes,
		.plain_max = VALUE_MAX,
	});
	if (cache->packing == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the redis cache");
	}
	if (settings->password_command != NULL) {
		cache->passwords = password_share_new();
		if (cache->passwords == NULL) {
			return error_set(error, STATUS_UNAVAILABLE, "no memory for the redis cache");
		}
	}
	if (!settings->tls) {
		return STATUS_OK;
	}
	cache->tls = redis_tls_new(
		&(struct redis_tls_options){
			.cert = settings->cert,
			.key = settings->key,
			.cacert = settings->cacert,
			.cacert_dir = settings->cacert_dir,
			.sni = settings->sni,
			.verify = (enum redis_tls_verify)settings->tls_verify,
		},
		error);
	return cache->tls == NULL ? error->status : STATUS_OK;
}

static struct cache *
redis_open(void *given, bool secret_wanted, struct error *error)
{
	struct redis_cache *cache = calloc(1, sizeof(*cache));

	redis_connection_prepare();
	if (cache == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the redis cache");
		redis_settings_free(given);
		return NULL;
	}
	node_board_init(&cache->board);
	cache->settings = given;
	cache->secret_wanted = secret_wanted;
	if (redis_settings_complete(cache->settings, error) != STATUS_OK || open_parts(cache, error) != STATUS_OK) {
		free_cache(cache);
		return NULL;
	}
	return (struct cache *)cache;
}

static void
redis_statistics(struct cache *base, struct cache_statistics *statistics)
{
	const struct redis_cache *cache = redis_cache_of(base);

	*statistics = (struct cache_statistics){
		.lookups = counter_read(&cache->lookups),
		.hits = counter_read(&cache->hits),
		.failures = counter_read(&cache->failures),
		.inserts = counter_read(&cache->inserts),
		.dropped = counter_read(&cache->dropped),
		.connections = counter_read(&cache->connections),
	};
}

static void
redis_metrics(struct cache *base, const struct metric_sink *sink)
{
	struct redis_cache *cache = redis_cache_of(base);
	static const char refusals[] = "hippocamp_cache_refusals_total";

	metric_emit_family(sink, refusals, "counter", "Commands that Redis refused, by its reason");
	for (int i = 0; i < REDIS_REFUSAL_COUNT; i++) {
		struct metric_label reason = {"reason", bytes_text(redis_refusal_name((enum redis_refusal)i))};

		metric_emit(sink, refusals, &reason, counter_read(&cache->refusals[i]));
	}
	metric_emit_one(sink, "hippocamp_cache_breaker_openings_total", "counter",
			"How often a server was given no more work because its commands failed",
			counter_read(&cache->breakings));
	packing_metrics(cache->packing, sink);
	node_board_metrics(&cache->board, sink);
}

static void
redis_nodes(struct cache *base, void (*tell)(void *context, const struct cache_node *node), void *context)
{
	node_board_read(&redis_cache_of(base)->board, tell, context);
}

static void
redis_describe(struct cache *base, char *text, size_t size)
{
	redis_settings_describe(redis_cache_of(base)->settings, text, size);
}

const struct cache_ops cache_redis_ops = {
	.name = "redis",
	.untrusted = true,
	.default_ttl_s = DAY_S,
	.options = &redis_options,
	.settings_size = sizeof(struct redis_settings),
	.open = redis_open,
	.close = redis_close,
	.attach = redis_attach,
	.detach = redis_detach,
	.secret = redis_secret,
	.lookup = redis_lookup,
	.catch_up = redis_catch_up,
	.insert = redis_insert,
	.remove = redis_remove,
	.purge = redis_purge,
	.lease = redis_lease,
	.release = redis_release,
	.reset_connections = redis_reset_connections,
	.trouble = redis_trouble,
	.statistics = redis_statistics,
	.metrics = redis_metrics,
	.nodes = redis_nodes,
	.describe = redis_describe,
};
