#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/cache_host.h"
#include "inference/engine_internal.h"
#include "inference/entry.h"
#include "inference/prepare.h"
#include "inference/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SCRATCH_MAX ((size_t)256 << 20)
#define APART_INTERVAL_NS UINT64_C(600000000000)
#define SAMPLE_ONE_OF 64 /* requests that a skipped cache is asked for all the same */

void
lane_less_underway(struct engine_lane *lane)
{
	if (--lane->underway == 0 && lane->drained != NULL) {
		lane->drained(lane->drained_argument);
	}
}

/* xorshift64 (Marsaglia, 2003): good enough for jitter. */
static uint64_t
next_random(struct engine_lane *lane)
{
	lane->random ^= lane->random << 13;
	lane->random ^= lane->random >> 7;
	lane->random ^= lane->random << 17;
	return lane->random;
}

double
lane_chance(struct engine_lane *lane)
{
	return (double)((next_random(lane) >> 11) + 1) / 9007199254740992.0;
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

/* A value from outside: is it an entry, the answer to this very key, of this model's outputs? */
bool
value_usable(struct engine_lane *lane, struct model *model, const struct cache_key *key, const struct blob *value,
	     bool known)
{
	enum entry_verdict verdict;
	bool mixed_up;

	if (!lane->cache->ops->foreign) {
		return true;
	}
	verdict = entry_check(blob_bytes(value), lane->entry_mac);
	if (verdict == ENTRY_GOOD) {
		mixed_up = !entry_answers(value, &key->digest);
		if (mixed_up && !known && lane->cache->ops->distrust != NULL) {
			lane->cache->ops->distrust(lane->store);
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
			"the servers that share the cache are apart; such entries have no known age, so they are used "
			"as "
			"long as the store keeps them, and not where a request has max-age; have all clocks set by NTP",
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

/* Purged, and back: see purge_marks.h. */
bool
value_purged(struct engine_lane *lane, struct model *model, const struct freshness_entry *freshness, uint64_t now_ms)
{
	bool ahead = freshness_is_ahead(freshness, now_ms); /* then it may be from before any purge */

	return lane->cache->ops->foreign && purge_marks_covers(&lane->cache->purges, &model->purges, model->config.name,
							       model->version, ahead ? 0 : freshness->created_ms);
}

/* --- Purges --- */

struct rows_purge {
	struct cache_purge purge; /* first */
	struct rows_purge *next;
	struct engine_lane *lane;
	char *name;
	char version[24];
	struct model *model; /* a reference; NULL: it is an ensemble that is made of such a model */
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

	rows->name = memory_format("%.*s", BYTES_ARGS(name));
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
		next = rows->next; /* it goes with its end */
		rows->lane = lane;
		lane->underway++;
		if (engine_purge(lane, &rows->purge)) {
			on_rows_purged(&rows->purge);
		}
	}
}

/* --- The secret --- */

/* Without memory those of before stay, or there are none. */
static void
take_keys(struct engine_lane *lane, const struct response_cache_keys *keys)
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
		take_keys(lane, &keys);
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

/* Takes what the store told at once for a slice: true where that is its answer. */
static bool
take_value(struct slice *slice, struct blob *value)
{
	struct inference_request *request = slice->request;
	struct freshness_entry freshness = entry_freshness(value);
	bool on_error;

	if (value_purged(request->lane, request->model, &freshness, request->wall_ms)) {
		blob_unref(value);
		return false;
	}
	switch (freshness_judge(&request->model->freshness, &request->directives, &freshness, request->wall_ms,
				lane_chance(request->lane), &on_error)) {
	case FRESHNESS_REVALIDATE:
		slice->revalidate =
			lane_renews(request->lane, &request->directives, &slice->key, &freshness, request->wall_ms);
		request->renews = request->renews || slice->revalidate;
		break;
	case FRESHNESS_USE:
		break;
	case FRESHNESS_TOO_OLD:
	case FRESHNESS_STALE:
		slice->expired = freshness.lifetime_ms > 0 && !request->directives.has_max_age;
		slice->unwanted = !slice->expired;
		if (on_error) {
			slice->stale = value;
		} else {
			blob_unref(value);
		}
		return false;
	}
	slice->entry = value;
	slice->result = SLICE_HIT;
	slice->resolved = true;
	request->unresolved--;
	return true;
}

/* What a store can tell at once is asked for before anything is allocated: this is the path of a hit. */
static void
look_at_once(struct inference_request *request)
{
	struct engine_lane *lane = request->lane;
	size_t count = request->slice_count;
	struct blob *one = NULL;
	struct cache_lookup lookup = {
		.keys = &request->slices[0].key, .count = count, .values = &one, .now_ns = request->keyed_ns};

	if (count > 1) {
		struct cache_key *keys = arena_array(request->arena, count, sizeof(*keys));

		lookup.values = arena_array(request->arena, count, sizeof(struct blob *));
		lookup.keys = keys;
		if (keys == NULL || lookup.values == NULL) {
			return;
		}
		for (size_t i = 0; i < count; i++) {
			keys[i] = request->slices[i].key;
		}
	}
	for (size_t i = 0; i < count; i++) {
		request->slices[i].landings = flight_landings(&lane->engine->flights, &request->slices[i].key.digest);
	}
	if (lane->cache->ops->immediate) {
		(void)lane->cache->ops->lookup(lane->store, &lookup);
	} else {
		lane->cache->ops->peek(lane->store, &lookup);
	}
	for (size_t i = 0; i < count; i++) {
		if (lookup.values[i] != NULL) {
			request->wall_ms = request->wall_ms == 0 ? clock_wall_ms() : request->wall_ms;
			(void)take_value(&request->slices[i], lookup.values[i]);
		}
	}
	if (request->unresolved > 0) { /* where all is known the whole request counts, up to its end */
		request->lookup_ns = clock_now_ns() - request->keyed_ns;
	}
}

/* --- Admission: is the cache worth asking? --- */

static bool
admitted(struct engine_lane *lane, const struct model *model)
{
	uint64_t run = atomic_load_explicit(&model->run_cost_ns, memory_order_relaxed);
	uint64_t lookup = atomic_load_explicit(&model->lookup_cost_ns, memory_order_relaxed);

	return model->cache_policy.admission == ADMISSION_ALWAYS || run == 0 || lookup <= run ||
	       next_random(lane) % SAMPLE_ONE_OF == 0;
}

/* --- Requests --- */

static void
set_results(struct inference_request *request, enum slice_result result)
{
	for (size_t i = 0; i < request->slice_count; i++) {
		request->slices[i].result = result;
	}
}

/* Gives every slice a key; without one the request runs as if there were no cache. */
static bool
make_keys(struct inference_request *request)
{
	struct engine_lane *lane = request->lane;

	if (lane_has_keys(lane) &&
	    (request_has_keys(request) || rows_make_keys(request, lane->key_hash, &lane->scratch))) {
		return true;
	}
	for (size_t i = 0; i < request->slice_count; i++) {
		request->slices[i].keyed = false;
	}
	return false;
}

static size_t
list_slices(const struct inference_request *request, struct slice **list, bool revalidate)
{
	size_t count = 0;

	for (size_t i = 0; i < request->slice_count; i++) {
		struct slice *slice = &request->slices[i];

		if (revalidate ? slice->revalidate : !slice->resolved) {
			list[count++] = slice;
		}
	}
	return count;
}

/* Sends off what has no answer yet, and what is to be renewed. */
static void
send_off(struct inference_request *request, struct trip_mode mode)
{
	struct slice **list;
	size_t count;

	if (request->unresolved == 0 && !request->renews) {
		request_finish(request);
		return;
	}
	list = arena_array(request->arena, request->slice_count, sizeof(*list));
	if (list == NULL) {
		request->status = error_set(request->error, STATUS_UNAVAILABLE, "no memory for the request");
		request_conclude(request);
		return;
	}
	count = list_slices(request, list, true);
	if (count > 0) {
		trip_start_refresh(request->lane, list, count);
	}
	count = list_slices(request, list, false);
	if (count == 0) {
		request_finish(request);
		return;
	}
	request_become_pending(request);
	trip_start(request->lane, list, count, mode);
}

/* Through the cache. False: it cannot have a key, or the cache is not to be asked. */
static bool
infer_cached(struct inference_request *request)
{
	const struct cache_directives *wish = &request->directives;
	struct engine_lane *lane = request->lane;
	struct trip_mode mode = {
		.shared = !wish->refresh && !wish->no_store && !wish->only,
		.looks = !wish->refresh,
		.runs = !wish->only,
		.stores = !wish->no_store && !wish->only,
	};
	bool timed = request->model->cache_policy.admission == ADMISSION_AUTO;
	uint64_t start = timed ? clock_now_ns() : 0;

	if (wish->bypass || (!wish->only && !wish->refresh && !admitted(lane, request->model))) {
		set_results(request, SLICE_BYPASSED);
		return false;
	}
	if (!make_keys(request)) {
		set_results(request, SLICE_ERROR);
		return false;
	}
	request->keyed_ns = clock_now_ns();
	request->looked_up = true;
	set_results(request, SLICE_MISS);
	if (mode.looks && cache_tells_at_once(lane->cache->ops)) {
		bool all = lane->cache->ops->immediate;

		look_at_once(request);
		if (timed && (all || request->unresolved == 0)) { /* else the trip's look-up is what it costs */
			account_lookup_cost(request->model, clock_now_ns() - start, request->slice_count);
		}
		mode.looks = mode.shared || !all;
	}
	send_off(request, mode);
	return true;
}

static void
infer_valid(struct inference_request *request)
{
	struct engine_lane *lane = request->lane;
	struct model *model = request->model;
	bool cached = lane->cache != NULL && model->config.response_cache && !request->audits;
	bool only = request->directives.only;
	bool by_row = false;

	request_set_level(request);
	request->report.cached = cached;
	if (cached) {
		by_row = model_by_row(model);
		lane_purge_rows(lane, model);
	}
	request->row_losses = model_row_losses(model); /* after the above: rows not kept apart are counted here */
	if (!request_is_cut(request, by_row) && !rows_cut(request, by_row)) {
		request->status = error_set(request->error, STATUS_UNAVAILABLE, "no memory for the request");
		request->slice_count = 0;
		request_conclude(request);
		return;
	}
	if (cached && infer_cached(request)) {
		return;
	}
	request->keyed_ns = clock_now_ns();
	if (request->by_row) {
		enum slice_result result = request->slices[0].result;

		if (rows_cut(request, false)) {
			request->slices[0].result = result;
		}
	}
	send_off(request, (struct trip_mode){.runs = !only, .audits = request->audits, .alone = request->audits});
}

bool
engine_infer(struct engine_lane *lane, struct inference_request *request)
{
	struct model *model = request->model;

	request->lane = lane;
	request->entry = NULL;
	request->start_ns = clock_now_ns();
	request->status = request_checked(request);
	if (request->status != STATUS_OK) {
		return true;
	}
	if (model->ordering != NULL) {
		ordering_enter(model->ordering, &request->order);
	}
	request->starting = true;
	infer_valid(request);
	request->starting = false;
	if (!request->answered && !request->pending) { /* its turn in the order has not come */
		request->pending = true;
		(void)model_ref(model);
		lane->underway++;
	} else if (request->answered && request->pending) {
		request->pending = false;
		model_unref(model);
		lane_less_underway(lane);
	}
	return request->answered;
}

bool
engine_purge(struct engine_lane *lane, struct cache_purge *purge)
{
	purge->removed = 0;
	purge->failed = false;
	if (lane->cache == NULL) {
		return true;
	}
	purge_marks_add(&lane->cache->purges, purge->model, purge->version, clock_wall_ms());
	return lane->cache->ops->purge(lane->store, purge);
}

/* --- Lanes --- */

/* Another server purged this. That the store has lost the word of it says nothing of what is in the store now. */
static void
on_purged_elsewhere(void *listener, struct bytes model, struct bytes version, uint64_t at_ms)
{
	struct engine_lane *lane = listener;

	uint64_t now_ms = clock_wall_ms();

	if (at_ms != 0) { /* by a clock that may be wrong, but nothing is purged that is made after it is heard of */
		purge_marks_add(&lane->engine->cache->purges, model, version, at_ms < now_ms ? at_ms : now_ms);
	}
}

struct engine *
engine_new(struct response_cache *cache)
{
	struct engine *engine = aligned_alloc(_Alignof(struct engine), sizeof(*engine));

	if (engine == NULL) {
		abort();
	}
	engine->cache = cache;
	memset(&engine->renewals, 0, sizeof(engine->renewals));
	memset(&engine->lateness, 0, sizeof(engine->lateness));
	atomic_init(&engine->apart_told_ns, 0);
	flight_table_init(&engine->flights);
	return engine;
}

void
engine_free(struct engine *engine)
{
	flight_table_fini(&engine->flights);
	free(engine);
}

struct engine_lane *
engine_lane_new(struct engine *engine, struct loop *loop, size_t index)
{
	struct engine_lane *lane = memory_new(sizeof(*lane));

	lane->engine = engine;
	lane->loop = loop;
	lane->index = index;
	TAILQ_INIT(&lane->looking);
	lane->deadline_timer = loop_timer_new(loop, lane_on_deadline, lane);
	TAILQ_INIT(&lane->waiting);
	lane->wait_timer = loop_timer_new(loop, lane_on_wait, lane);
	random_bytes(&lane->random, sizeof(lane->random));
	lane->random |= 1;
	cache_host_init(&lane->host, loop);
	lane->host.purged = on_purged_elsewhere;
	lane->host.listener = lane;
	lane->host.endless = engine->cache != NULL && engine->cache->settings.policy.ttl_s == 0;
	if (engine->cache != NULL) {
		lane->store = engine->cache->ops->attach(engine->cache->store, &lane->host);
		buf_init(&lane->scratch, SCRATCH_MAX);
		/* Without memory for these the loop serves uncached. */
		lane->cache = lane->store != NULL ? engine->cache : NULL;
	}
	if (lane->cache != NULL && lane->cache->has_secret) {
		take_keys(lane, &lane->cache->keys);
		lane->cache = lane->key_hash != NULL ? lane->cache : NULL;
	}
	return lane;
}

void
engine_lane_drain(struct engine_lane *lane, void (*done)(void *argument), void *argument)
{
	engine_lane_hurry(lane);
	lane->drained = done;
	lane->drained_argument = argument;
	if (lane->underway == 0) {
		done(argument);
	}
}

void
engine_lane_free(struct engine_lane *lane)
{
	if (lane->store != NULL) {
		lane->engine->cache->ops->detach(lane->store);
	}
	keyed_hash_free(lane->key_hash);
	keyed_hash_free(lane->entry_mac);
	explicit_bzero(&lane->lookup_key, sizeof(lane->lookup_key));
	explicit_bzero(&lane->entry_key, sizeof(lane->entry_key));
	buf_fini(&lane->scratch);
	loop_timer_free(lane->deadline_timer);
	loop_timer_free(lane->wait_timer);
	free(lane);
}
