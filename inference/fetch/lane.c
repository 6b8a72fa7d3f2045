/* One loop's part of the engine: random numbers, the secret, and checks of values and purges. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/fetch/account.h"
#include "inference/fetch/fetch.h"
#include "inference/cache/entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define APART_INTERVAL_NS UINT64_C(600000000000)
#define SAMPLE_ONE_OF 64 /* one of so many requests asks a skipped cache nevertheless */

void
lane_less_underway(struct engine_lane *lane)
{
	if (--lane->underway == 0 && lane->drained != NULL) {
		lane->drained(lane->drained_argument);
	}
}

const struct executor_ops *
lane_executor(const struct engine_lane *lane, const struct model *model)
{
	if (model->ensemble != NULL) {
		return lane->ensembles;
	}
	return model_is_remote(model) ? lane->remotes : lane->models;
}

double
lane_chance(struct engine_lane *lane)
{
	return (double)((lane_random(lane) >> 11) + 1) / 9007199254740992.0;
}

struct blob *
failure_new(enum status status, const char *text)
{
	struct blob *failure = blob_new(sizeof(struct error));

	if (failure == NULL) {
		abort(); /* a kilobyte */
	}
	(void)error_set((struct error *)failure->data, status, "%s", text);
	return failure;
}

/* --- The store --- */

static bool
fits_model(const struct model *model, const struct blob *value)
{
	if (entry_output_count(value) != model->config.output_count) {
		return false;
	}
	for (size_t i = 0; i < model->config.output_count; i++) {
		struct tensor output = entry_output(value, i);

		if (!bytes_equal(output.name, model->config.outputs[i].name) ||
		    output.datatype != model->config.outputs[i].datatype) {
			return false;
		}
	}
	return true;
}

/* Is a value from outside an entry, the answer to this key, and of this model's outputs? */
bool
value_usable(struct engine_lane *lane, struct model *model, const struct cache_key *key, const struct blob *value,
	     bool known)
{
	enum entry_verdict verdict;
	bool mixed_up;

	if (!lane->cache->ops->untrusted) {
		return true;
	}
	verdict = entry_check(blob_bytes(value), lane->entry_mac);
	if (verdict == ENTRY_GOOD) {
		mixed_up = !entry_answers(value, &key->digest);
		if (mixed_up && !known && lane->cache->ops->reset_connections != NULL) {
			lane->cache->ops->reset_connections(lane->store);
		} else if (!mixed_up && fits_model(model, value)) {
			return true;
		}
	}
	if (!known) {
		account_corrupt(lane, model, verdict == ENTRY_WRONG_MAC);
	}
	return false;
}

void
lane_note_date(struct engine_lane *lane, const struct freshness_entry *freshness, uint64_t now_ms)
{
	uint64_t told;
	uint64_t now;

	if (!freshness_is_ahead(freshness, now_ms)) {
		return;
	}
	told = atomic_load_explicit(&lane->engine->apart_told_ns, memory_order_relaxed);
	now = clock_now_ns();
	if ((told == 0 || now - told > APART_INTERVAL_NS) &&
	    atomic_compare_exchange_strong(&lane->engine->apart_told_ns, &told, now)) {
		log_warning(
			"cache '%s': an entry is dated %" PRIu64 " s ahead of this machine's clock: the clocks of "
			"the servers that share the cache are apart, and entries whose age is not known are not used "
			"where it matters; have all clocks set by NTP",
			lane->cache->ops->name, (freshness->created_ms - now_ms) / 1000);
	}
}

bool
lane_renews(struct engine_lane *lane, const struct cache_directives *directives, const struct cache_key *key,
	    const struct freshness_entry *freshness, uint64_t now_ms)
{
	return cache_directives_renew(directives) &&
	       renewals_begin(&lane->engine->renewals, &key->digest, freshness->created_ms, now_ms);
}

/* Was this value purged before? A store in this process brings nothing back: see purge_marks.h. */
bool
value_purged(struct engine_lane *lane, struct model *model, const struct freshness_entry *freshness, uint64_t now_ms)
{
	bool ahead = freshness_is_ahead(freshness, now_ms); /* then it may be from before any purge */

	return lane->cache->ops->untrusted &&
	       purge_marks_covers(&lane->cache->purges, &model->purges, model->config.name, model->version,
				  ahead ? 0 : freshness->created_ms);
}

bool
lane_purged_since(struct engine_lane *lane, struct model *model, uint64_t since_ns)
{
	return lane->cache != NULL &&
	       purge_marks_since(&lane->cache->purges, &model->purges, model->config.name, model->version, since_ns);
}

/* --- Purges --- */

bool
lane_purge(struct engine_lane *lane, struct cache_purge *purge)
{
	purge->removed = 0;
	purge->failed = false;
	if (lane->cache == NULL) {
		return true;
	}
	purge_marks_add(&lane->cache->purges, purge->model, purge->version, clock_wall_ms(), clock_now_ns());
	return lane->cache->ops->purge(lane->store, purge);
}

struct rows_purge {
	struct cache_purge purge; /* first */
	struct rows_purge *next;
	struct engine_lane *lane;
	char *name;
	char version[24];
	struct model *model; /* a reference; NULL for an ensemble that contains the model */
};

static void
on_rows_purged(struct cache_purge *purge)
{
	struct rows_purge *rows = (struct rows_purge *)purge;
	struct engine_lane *lane = rows->lane;

	if (purge->failed || purge->removed > 0) {
		log_info("%" PRIu64 " entries of model '%s' version %s removed%s", purge->removed, rows->name,
			 rows->version,
			 purge->failed ? ", but the cache could not be asked to the end: tried again" : "");
	}
	if (rows->model != NULL) {
		row_trust_end_purge(&rows->model->rows, !purge->failed, clock_now_ns());
		model_unref(rows->model);
	}
	free(rows->name);
	free(rows);
	lane_less_underway(lane);
}

static struct rows_purge *
rows_purge_new(struct bytes name, int64_t version)
{
	struct rows_purge *rows = memory_new(sizeof(*rows));

	rows->name = memory_text_of(name);
	(void)snprintf(rows->version, sizeof(rows->version), "%" PRId64, version);
	rows->purge = (struct cache_purge){
		.model = bytes_text(rows->name), .version = bytes_text(rows->version), .done = on_rows_purged};
	return rows;
}

static void
add_ensemble(void *context, struct bytes name, int64_t version)
{
	struct rows_purge *first = context;
	struct rows_purge *rows = rows_purge_new(name, version);

	rows->next = first->next;
	first->next = rows;
}

void
lane_purge_rows(struct engine_lane *lane, struct model *model)
{
	struct rows_purge *rows;
	struct rows_purge *next;

	if (!row_trust_taints_store(&model->rows) || lane->cache == NULL || lane->cache->ops->purge == NULL ||
	    !row_trust_begin_purge(&model->rows, clock_now_ns())) {
		return;
	}
	rows = rows_purge_new(model->config.name, model->version);
	rows->model = model_ref(model);
	model_each_ensemble_of(model, add_ensemble, rows);
	for (; rows != NULL; rows = next) {
		next = rows->next; /* on_rows_purged frees `rows` */
		rows->lane = lane;
		lane->underway++;
		if (lane_purge(lane, &rows->purge)) {
			on_rows_purged(&rows->purge);
		}
	}
}

/* --- The secret --- */

void
lane_take_keys(struct engine_lane *lane, const struct response_cache_keys *keys)
{
	enum keyed_hash_kind kind = (enum keyed_hash_kind)lane->cache->settings.key_hash;
	struct keyed_hash *key_hash = keyed_hash_new(kind, &keys->lookup);
	struct keyed_hash *entry_mac = keyed_hash_new(kind, &keys->entry);

	if (key_hash == NULL || entry_mac == NULL) {
		keyed_hash_free(key_hash);
		keyed_hash_free(entry_mac);
		return;
	}
	keyed_hash_free(lane->key_hash);
	keyed_hash_free(lane->entry_mac);
	lane->key_hash = key_hash;
	lane->entry_mac = entry_mac;
	lane->lookup_key = keys->lookup;
	lane->entry_key = keys->entry;
}

bool
lane_has_keys(struct engine_lane *lane)
{
	const struct cache_secret *shared;
	struct response_cache_keys keys;

	if (lane->cache->has_secret) {
		return true;
	}
	shared = lane->cache->ops->secret(lane->store);
	if (shared == NULL) {
		return false;
	}
	if (shared->generation != lane->secret_generation || lane->key_hash == NULL) {
		response_cache_keys_derive(&keys, (enum keyed_hash_kind)lane->cache->settings.key_hash,
					   bytes_make(shared->bytes, sizeof(shared->bytes)));
		lane_take_keys(lane, &keys);
		lane->secret_generation = shared->generation;
		explicit_bzero(&keys, sizeof(keys));
	}
	return lane->key_hash != NULL;
}

bool
lane_lacks_secret(struct engine_lane *lane)
{
	return !lane->cache->has_secret && lane->cache->ops->secret(lane->store) == NULL;
}

bool
lane_is_small_enough(const struct engine_lane *lane, const struct blob *entry)
{
	const struct response_cache *cache = lane->cache;
	int64_t maximum = cache->settings.max_value_bytes;

	return (maximum == 0 || entry->length <= (uint64_t)maximum) &&
	       (cache->ops->value_max == NULL || entry->length <= cache->ops->value_max(cache->store));
}

bool
lane_admits(struct engine_lane *lane, const struct model *model)
{
	uint64_t run = atomic_load_explicit(&model->run_cost_ns, memory_order_relaxed);
	uint64_t lookup = atomic_load_explicit(&model->lookup_cost_ns, memory_order_relaxed);

	return model->cache_policy.admission == ADMISSION_ALWAYS || run == 0 || lookup <= run ||
	       lane_random(lane) % SAMPLE_ONE_OF == 0;
}

void
lane_catch_up(struct engine_lane *lane)
{
	if (lane->cache->ops->catch_up != NULL) {
		lane->cache->ops->catch_up(lane->store);
	}
}
