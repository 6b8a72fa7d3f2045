/* GET /v2/cache and POST /v2/cache/purge */
#include "base/container_of.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/access.h"
#include "server/handlers.h"
#include "wire/admin_body.h"

#include <inttypes.h>
#include <stdlib.h>

#define JSON "application/json"
#define KEYS_SHOWN 8 /* of each model */

static double
ratio(uint64_t hits, uint64_t lookups)
{
	return lookups == 0 ? 0 : (double)hits / (double)lookups;
}

/* Writes how the model's requests are cached, by row or whole, and why; see inference/models/row_trust.h. */
static void
write_rows(struct buf *out, const struct row_trust *rows)
{
	buf_format(out,
		   ",\"granularity\":\"%s\",\"rows\":\"%s\",\"audits\":%" PRIu64 ",\"audit_differences\":%" PRIu64
		   ",\"audit_mismatches\":%" PRIu64,
		   row_trust_by_row(rows) ? "row" : "request", row_standing_name(atomic_load(&rows->standing)),
		   atomic_load(&rows->audited), atomic_load(&rows->different), atomic_load(&rows->mismatched));
}

/* Counts of keys, which say nothing of what was asked. Those of `--record` begin with the same digits. */
static void
write_keys(struct buf *out, const char *name, const struct top_key_list *keys, uint64_t least)
{
	size_t shown = 0;

	buf_format(out, ",\"%s\":[", name);
	for (size_t i = 0; i < keys->count && shown < KEYS_SHOWN; i++) {
		char hex[2 * sizeof(uint64_t) + 1];

		if (keys->at[i].count < least) {
			continue;
		}
		hex_text(bytes_make(&keys->at[i].key, sizeof(uint64_t)), hex);
		buf_format(out,
			   "%s{\"key\":\"%s\",\"count\":%" PRIu64 ",\"compute_seconds\":%.6g,\"bytes\":%" PRIu32 "}",
			   shown++ == 0 ? "" : ",", hex, keys->at[i].count, (double)keys->at[i].us / 1e6,
			   keys->at[i].bytes);
	}
	buf_byte(out, ']');
}

static void
write_model(struct buf *out, const struct model *model, const struct model_statistics *sums)
{
	struct top_key_list saved;
	struct top_key_list spent;

	buf_text(out, "{\"name\":");
	buf_json_string(out, model->config.name);
	buf_format(out,
		   ",\"version\":\"%" PRId64 "\",\"lookups\":%" PRIu64 ",\"hits\":%" PRIu64 ",\"misses\":%" PRIu64
		   ",\"joined\":%" PRIu64 ",\"bypassed\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"hit_ratio\":%.6g",
		   model->version, sums->lookups, sums->hits, sums->misses, sums->joined, sums->bypassed, sums->errors,
		   ratio(sums->hits, sums->lookups));
	buf_format(out, ",\"saved_seconds\":%.6g", (double)sums->saved_us / 1e6);
	write_rows(out, &model->rows);
	statistics_list_keys(model->statistics, &saved, &spent);
	write_keys(out, "valuable_keys", &saved, 1);
	write_keys(out, "wasteful_keys", &spent, 2);
	buf_byte(out, '}');
}

/* Sums over the rows of all cached models. */
struct totals {
	uint64_t lookups;
	uint64_t hits;
};

static void
write_models(struct buf *out, const struct model_table *table, struct totals *totals)
{
	bool first = true;

	buf_byte(out, '[');
	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			const struct model *model = table->entries[i].versions[k];
			struct model_statistics sums;

			if (!model->config.response_cache) {
				continue;
			}
			if (!first) {
				buf_byte(out, ',');
			}
			first = false;
			statistics_sum(model->statistics, &sums);
			totals->lookups += sums.lookups;
			totals->hits += sums.hits;
			write_model(out, model, &sums);
		}
	}
	buf_byte(out, ']');
}

struct node_list {
	struct buf *out;
	bool first;
};

static void
write_node(void *context, const struct cache_node *node)
{
	struct node_list *list = context;
	struct buf *out = list->out;

	buf_text(out, list->first ? "{\"address\":" : ",{\"address\":");
	list->first = false;
	buf_json_string(out, bytes_text(node->name));
	buf_format(out,
		   ",\"threads\":%" PRIu64 ",\"connected_threads\":%" PRIu64 ",\"open_breakers\":%" PRIu64
		   ",\"lookup_connections\":%" PRIu64 ",\"round_trip_us\":%.1f}",
		   node->lanes, node->connected_lanes, node->open_breakers, node->connections, node->round_trip_us);
}

static void
write_nodes(const struct response_cache *cache, struct buf *out)
{
	struct node_list list = {out, true};

	buf_text(out, ",\"nodes\":[");
	if (cache->ops->nodes != NULL) {
		cache->ops->nodes(cache->store, write_node, &list);
	}
	buf_byte(out, ']');
}

void
handle_cache(struct exchange *exchange)
{
	const struct response_cache *cache = exchange->options->cache;
	struct buf *out = &exchange->text;
	struct cache_statistics store;
	struct totals totals = {0};
	char description[512];

	if (!(exchange->port->is_metrics ? access_cache_view(exchange) : access_cache_admin(exchange))) {
		return;
	}
	if (cache == NULL) {
		reply_error_text(exchange, STATUS_NOT_FOUND, "this server has no response cache");
		return;
	}
	cache->ops->statistics(cache->store, &store);
	cache->ops->describe(cache->store, description, sizeof(description));
	buf_text(out, "{\"store\":");
	buf_json_string(out, bytes_text(cache->ops->name));
	buf_text(out, ",\"description\":");
	buf_json_string(out, bytes_text(description));
	buf_text(out, ",\"configuration\":");
	buf_append(out, buf_bytes(&cache->configuration));
	buf_text(out, ",\"models\":");
	write_models(out, server_lane_table(exchange->lane), &totals);
	buf_format(out, ",\"lookups\":%" PRIu64 ",\"hits\":%" PRIu64 ",\"hit_ratio\":%.6g", totals.lookups, totals.hits,
		   ratio(totals.hits, totals.lookups));
	buf_format(out,
		   ",\"capacity_bytes\":%" PRIu64 ",\"used_bytes\":%" PRIu64 ",\"entries\":%" PRIu64
		   ",\"inserts\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"evictions\":%" PRIu64
		   ",\"lookup_failures\":%" PRIu64 ",\"connections\":%" PRIu64,
		   store.capacity_bytes, store.used_bytes, store.entries, store.inserts, store.dropped, store.evictions,
		   store.failures, store.connections);
	write_nodes(cache, out);
	buf_byte(out, '}');
	reply_text(exchange, JSON);
}

/* --- Purge --- */

struct purging {
	struct cache_purge purge; /* first */
	struct exchange *exchange;
};

static void
log_purge(const struct cache_purge *purge)
{
	log_info("cache purged of %s%.*s%s%.*s: %" PRIu64 " entries%s",
		 purge->model.length == 0 ? "everything" : "model ", BYTES_ARGS(purge->model),
		 purge->version.length == 0 ? "" : " version ", BYTES_ARGS(purge->version), purge->removed,
		 purge->failed ? ", and not to the end" : "");
}

static void
on_purged(struct cache_purge *purge)
{
	struct exchange *exchange = ((struct purging *)purge)->exchange;

	log_purge(purge);
	if (purge->failed) {
		reply_error_text(exchange, STATUS_UNAVAILABLE,
				 "the cache's server could not be asked, or not to the end; %" PRIu64
				 " entries were removed: see in the log why, and purge again",
				 purge->removed);
		return;
	}
	buf_format(&exchange->text, "{\"purged\":%" PRIu64 "}", purge->removed);
	reply_text(exchange, JSON);
}

void
handle_purge(struct exchange *exchange)
{
	struct purging *purging = arena_get(&exchange->arena, sizeof(*purging));
	struct purge_body body;
	struct error error;

	if (!access_cache_admin(exchange)) {
		return;
	}
	if (exchange->options->cache == NULL) {
		reply_error_text(exchange, STATUS_NOT_FOUND, "this server has no response cache");
		return;
	}
	if (exchange->options->cache->ops->purge == NULL) {
		reply_error_text(exchange, STATUS_UNSUPPORTED,
				 "cache '%s' is a plug-in of Triton's cache interface, which has no way to remove "
				 "entries: give another namespace",
				 exchange->options->cache->ops->name);
		return;
	}
	if (purging == NULL) {
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the request");
		return;
	}
	if (purge_body_decode(exchange->body, &exchange->arena, &body, &error) != STATUS_OK) {
		reply_error(exchange, &error);
		return;
	}
	if (body.model.length > 0 && model_table_entry(server_lane_table(exchange->lane), body.model) == NULL) {
		reply_error_text(exchange, STATUS_NOT_FOUND, "Request for unknown model: '%.*s' is not found",
				 BYTES_ARGS(body.model));
		return;
	}
	purging->exchange = exchange;
	purging->purge = (struct cache_purge){.model = body.model, .version = body.version, .done = on_purged};
	if (engine_purge(exchange->lane->engine, &purging->purge)) {
		on_purged(&purging->purge);
	}
}

/* --- Purges that no client asked for --- */

struct posted_purge {
	struct loop_mail mail; /* first */
	struct cache_purge purge;
	struct server_lane *lane;
	char *model;
};

static void
on_posted_purged(struct cache_purge *purge)
{
	struct posted_purge *posted = container_of(purge, struct posted_purge, purge);
	struct server_lane *lane = posted->lane;

	log_purge(purge);
	free(posted->model);
	free(posted);
	server_lane_release(lane);
}

static void
on_purge_mail(struct loop_mail *mail)
{
	struct posted_purge *posted = (struct posted_purge *)mail;

	server_lane_hold(posted->lane);
	if (engine_purge(posted->lane->engine, &posted->purge)) {
		on_posted_purged(&posted->purge);
	}
}

void
server_lane_purge(struct server_lane *lane, const char *model)
{
	struct posted_purge *posted = memory_new(sizeof(*posted));

	posted->mail.deliver = on_purge_mail;
	posted->lane = lane;
	posted->model = memory_text(model);
	posted->purge = (struct cache_purge){.model = bytes_text(posted->model), .done = on_posted_purged};
	loop_post(lane->loop, &posted->mail);
}
