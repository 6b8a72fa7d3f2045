#include "base/clock.h"
#include "base/memory.h"
#include "inference/cache_host.h"
#include "inference/engine_internal.h"
#include "inference/entry.h"
#include "inference/rows.h"
#include "inference/validate.h"

#include <inttypes.h>
#include <stdlib.h>

#define SCRATCH_MAX ((size_t)256 << 20)
#define TIMEOUT_MAX_US ((uint64_t)1000000000000) /* eleven days */
#define SAMPLE_ONE_OF 64			 /* requests that a skipped cache is asked for all the same */

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

/* --- Leaving before there is an answer --- */

static bool
withdraw(struct inference_request *request, enum status status, const char *text)
{
	struct blob *failure;

	if (request->answered || request->withdrawn || !trip_request_waits(request)) {
		return false;
	}
	request->withdrawn = true;
	failure = failure_new(status, text);
	trip_leave(request, failure);
	blob_unref(failure);
	return true;
}

void
engine_cancel(struct inference_request *request)
{
	(void)withdraw(request, STATUS_CANCELLED, "the client closed the connection");
}

static void
time_out(struct inference_request *request)
{
	(void)withdraw(request, STATUS_UNAVAILABLE, "Request timeout expired");
}

static void
on_timeout(void *argument)
{
	struct inference_request *request = argument;

	request->timed_out = true;
	time_out(request);
}

/* --- Priority and timeout, as dynamic_batching has them --- */

static bool
read_unsigned(const struct inference_request *request, const char *name, uint64_t *number)
{
	const struct parameter *parameter = parameter_find(request->parameters, request->parameter_count, name);

	if (parameter == NULL || (parameter->kind != PARAMETER_UNSIGNED &&
				  (parameter->kind != PARAMETER_SIGNED || parameter->signed_number < 0))) {
		return false;
	}
	*number = parameter->unsigned_number;
	return true;
}

static void
set_level(struct inference_request *request)
{
	const struct model_batching *batching = &request->model->config.batching;
	uint64_t level = 0;

	if (batching->priority_levels == 0) {
		request->level = 1;
		return;
	}
	(void)read_unsigned(request, "priority", &level);
	request->level =
		(size_t)(level == 0 || level > batching->priority_levels ? batching->default_priority_level : level);
}

/* How long it may wait before its run begins, in µs; 0: for ever. */
static uint64_t
queue_timeout(const struct inference_request *request)
{
	const struct model_queue_policy *policy =
		model_batching_policy(&request->model->config.batching, request->level);
	uint64_t timeout = policy->default_timeout_us;
	uint64_t wish = 0;

	if (request->model->config.scheduling != MODEL_SCHEDULING_DYNAMIC) {
		return 0;
	}
	if (policy->allow_timeout_override && read_unsigned(request, "timeout", &wish) && wish > 0 &&
	    (timeout == 0 || wish < timeout)) {
		timeout = wish;
	}
	return timeout < TIMEOUT_MAX_US ? timeout : TIMEOUT_MAX_US;
}

/* What comes of a request that waits too long: the queue delays it, or it is rejected here. */
static void
set_timeout(struct inference_request *request)
{
	uint64_t timeout = queue_timeout(request);

	if (model_batching_policy(&request->model->config.batching, request->level)->delays) {
		request->delay_ns = timeout * 1000;
	} else if (timeout > 0) {
		request->timer = loop_timer_new(request->lane->loop, on_timeout, request);
		loop_timer_set(request->timer, (timeout + 999) / 1000);
	}
}

static void
become_pending(struct inference_request *request)
{
	request->pending = true;
	(void)model_ref(request->model);
	request->lane->underway++;
	set_timeout(request);
}

/* --- Answers --- */

static void
drop_slices(struct inference_request *request)
{
	for (size_t i = 0; i < request->slice_count; i++) {
		blob_unref(request->slices[i].entry);
		blob_unref(request->slices[i].stale);
		blob_unref(request->slices[i].failure);
	}
}

/* An expired row is better than none where the model failed. */
static void
use_stale(struct inference_request *request)
{
	for (size_t i = 0; i < request->slice_count; i++) {
		struct slice *slice = &request->slices[i];
		enum status status =
			slice->failure == NULL ? STATUS_OK : ((const struct error *)slice->failure->data)->status;

		if (slice->stale != NULL && (status == STATUS_INTERNAL || status == STATUS_UNAVAILABLE)) {
			blob_unref(slice->failure);
			slice->failure = NULL;
			slice->entry = slice->stale;
			slice->stale = NULL;
			slice->stored = false;
			slice->result = SLICE_HIT;
		}
	}
}

static const struct error *
first_failure(const struct inference_request *request)
{
	for (size_t i = 0; i < request->slice_count; i++) {
		if (request->slices[i].failure != NULL) {
			return (const struct error *)request->slices[i].failure->data;
		}
	}
	return NULL;
}

static void
report_age(struct inference_request *request)
{
	struct cache_report *report = &request->report;
	uint64_t now = clock_wall_ms();

	for (size_t i = 0; i < request->slice_count; i++) {
		struct freshness_entry freshness = entry_freshness(request->slices[i].entry);
		uint64_t age = now > freshness.created_ms ? now - freshness.created_ms : 0;
		int64_t left = ((int64_t)freshness.lifetime_ms - (int64_t)age);

		report->age_s = age / 1000 > report->age_s ? age / 1000 : report->age_s;
		left = left <= 0 ? (left - 1000) / 1000 : left / 1000; /* expired: below 0 */
		if (freshness.lifetime_ms > 0 && (!report->has_ttl || left < report->ttl_s)) {
			report->has_ttl = true;
			report->ttl_s = left;
		}
	}
}

static void
write_report(struct inference_request *request)
{
	struct cache_report *report = &request->report;
	bool expired = false;
	bool unwanted = request->directives.refresh;
	bool bypassed = false;
	size_t joined = 0;

	report->rows = request->slice_count;
	for (size_t i = 0; i < request->slice_count; i++) {
		const struct slice *slice = &request->slices[i];

		report->known += slice->result == SLICE_HIT || slice->result == SLICE_JOINED;
		joined += slice->result == SLICE_JOINED;
		report->stored = report->stored || slice->stored;
		expired = expired || slice->expired;
		unwanted = unwanted || slice->unwanted;
		bypassed = bypassed || slice->result == SLICE_BYPASSED;
	}
	report->joined = joined == report->rows;
	if (report->known == report->rows) {
		report->forward = FORWARD_NONE;
		if (request->status == STATUS_OK) {
			report_age(request);
		}
	} else if (bypassed) {
		report->forward = FORWARD_BYPASS;
	} else if (unwanted) {
		report->forward = FORWARD_REQUEST;
	} else if (expired) {
		report->forward = FORWARD_STALE;
	} else {
		report->forward = report->known > 0 ? FORWARD_PARTIAL : FORWARD_MISS;
	}
}

static void
hand_out(struct inference_request *request)
{
	struct engine_lane *lane = request->lane;
	struct model *model = request->model;
	bool pending = request->pending;

	request->answered = true;
	if (request->starting) {
		return; /* engine_infer's return value tells */
	}
	request->done(request);
	if (pending) {
		model_unref(model);
		lane_less_underway(lane);
	}
}

static void
on_turn(struct loop_mail *mail)
{
	hand_out((struct inference_request *)((char *)mail - offsetof(struct inference_request, mail)));
}

/* Those whose turn it is are told on their own loops. */
static void
hand_out_in_order(struct inference_request *request)
{
	struct order_list leaving;
	struct order *order;

	ordering_ready(request->model->ordering, &request->order, &leaving);
	while ((order = TAILQ_FIRST(&leaving)) != NULL) {
		struct inference_request *next =
			(struct inference_request *)((char *)order - offsetof(struct inference_request, order));

		TAILQ_REMOVE(&leaving, order, next);
		if (next == request && request->starting) {
			hand_out(request);
		} else {
			next->mail.deliver = on_turn;
			loop_post(next->lane->loop, &next->mail);
		}
	}
}

static void
keep_longest(uint64_t *longest, uint64_t ns)
{
	*longest = ns > *longest ? ns : *longest;
}

static void
write_times(struct inference_request *request)
{
	for (size_t i = 0; i < request->slice_count; i++) {
		const struct run_times *times = &request->slices[i].times;

		keep_longest(&request->times.queue_ns, times->queue_ns);
		keep_longest(&request->times.input_ns, times->input_ns);
		keep_longest(&request->times.infer_ns, times->infer_ns);
		keep_longest(&request->times.output_ns, times->output_ns);
	}
}

/* How long another answer may be used that is made of this one. */
static void
write_dates(struct inference_request *request)
{
	for (size_t i = 0; i < request->slice_count && request->status == STATUS_OK; i++) {
		struct freshness_entry freshness = entry_freshness(request->slices[i].entry);
		uint64_t expires = freshness.created_ms + freshness.lifetime_ms;

		if (request->created_ms == 0 || freshness.created_ms < request->created_ms) {
			request->created_ms = freshness.created_ms;
		}
		if (request->report.cached && freshness.lifetime_ms > 0 &&
		    (request->expires_ms == 0 || expires < request->expires_ms)) {
			request->expires_ms = expires;
		}
	}
}

static void
conclude(struct inference_request *request)
{
	loop_timer_free(request->timer);
	request->timer = NULL;
	write_times(request);
	if (request->wants_dates) {
		write_dates(request);
	}
	if (request->report.cached) {
		write_report(request);
	}
	account_request(request->lane, request);
	drop_slices(request);
	if (request->model->ordering != NULL) {
		hand_out_in_order(request);
	} else {
		hand_out(request);
	}
}

static void
fail(struct inference_request *request, const struct error *failure)
{
	struct bytes id = request->id.length > 0 ? request->id : bytes_text("<id_unknown>");

	request->status = failure->status;
	request->error = *failure;
	if (strcmp(failure->text, "Exceeds maximum queue size") == 0) { /* Triton names the request here */
		(void)error_prefix(&request->error, "[request id: %.*s] ", BYTES_ARGS(id));
	}
}

/* A second try waits no longer than the request may. */
static void
start_again(struct slice *slice, struct trip_mode mode)
{
	struct inference_request *request = slice->request;

	request->unresolved++; /* keeps the request: it may be answered meanwhile */
	trip_start(request->lane, &slice, 1, mode);
	if (request->timed_out) {
		time_out(request);
	}
	slice_resolve_guard(request);
}

/* Rows of this model cannot be told apart or put together: the request goes as a whole, and so do later ones. */
static bool
start_over_whole(struct inference_request *request)
{
	struct inference_request old = *request;
	struct slice *slice;

	if (request->slice_count == 1 || request->withdrawn || request->directives.only ||
	    !atomic_load(&request->model->whole) || !rows_cut(request, true)) {
		return false;
	}
	drop_slices(&old);
	slice = &request->slices[0];
	slice->result = SLICE_MISS;
	if (!request->pending) {
		become_pending(request);
	}
	start_again(slice, (struct trip_mode){.runs = true});
	return true;
}

static bool
assemble(struct inference_request *request)
{
	bool fit = true;

	if (request->slice_count == 1) {
		request->entry = request->slices[0].entry;
		blob_ref(request->entry);
		return true;
	}
	request->entry = rows_assemble(request, &fit);
	if (!fit) {
		atomic_store(&request->model->whole, true);
		return false;
	}
	if (request->entry == NULL) {
		request->status = error_set(&request->error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	return true;
}

/* All slices have their answers. */
static void
finish(struct inference_request *request)
{
	const struct error *failure;

	use_stale(request);
	failure = first_failure(request);
	request->status = STATUS_OK;
	if (failure != NULL) {
		if (start_over_whole(request)) {
			return;
		}
		fail(request, failure);
	} else if (!assemble(request)) {
		if (start_over_whole(request)) {
			return;
		}
		request->status =
			error_set(&request->error, request->directives.only ? STATUS_NOT_CACHED : STATUS_UNAVAILABLE,
				  "the rows of the answer have different shapes, so that they cannot be put together");
	}
	conclude(request);
}

void
slice_resolve_guard(struct inference_request *request)
{
	if (--request->unresolved == 0) {
		finish(request);
	}
}

/* Has any slice failed for good? Only of resolved slices: the others may be written by another loop just now. */
static bool
has_failed(const struct inference_request *request)
{
	for (size_t i = 0; i < request->slice_count; i++) {
		if (request->slices[i].resolved && request->slices[i].failure != NULL) {
			return true;
		}
	}
	return false;
}

/*
 * What joined somebody else's answer may not suit: a failure of other rows, or an entry that was good enough for the
 * other request, but is too old for this one.
 */
static bool
worth_another_try(const struct slice *slice)
{
	const struct inference_request *request = slice->request;
	struct freshness_entry freshness;
	enum freshness verdict;
	bool on_error;

	if (slice->retried || request->withdrawn || request->directives.only) {
		return false;
	}
	if (slice->failure != NULL) {
		return slice->retry && !has_failed(request);
	}
	if (slice->result != SLICE_JOINED) {
		return false;
	}
	freshness = entry_freshness(slice->entry);
	verdict = freshness_judge(&request->model->freshness, &request->directives, &freshness, clock_wall_ms(), 1,
				  &on_error);
	return verdict == FRESHNESS_TOO_OLD || verdict == FRESHNESS_STALE;
}

static void
try_alone(struct slice *slice)
{
	blob_unref(slice->entry);
	blob_unref(slice->failure);
	slice->entry = NULL;
	slice->failure = NULL;
	slice->retried = true;
	slice->shared = false;
	start_again(slice, (struct trip_mode){.runs = true, .stores = slice->keyed, .alone = true});
}

void
slice_resolve(struct slice *slice)
{
	if (worth_another_try(slice)) {
		try_alone(slice);
		return;
	}
	slice->resolved = true;
	slice_resolve_guard(slice->request);
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
value_usable(struct engine_lane *lane, struct model *model, const struct cache_key *key, const struct blob *value)
{
	if (!lane->cache->ops->foreign) {
		return true;
	}
	if (entry_valid(blob_bytes(value))) {
		if (!entry_answers(value, &key->digest)) {
			lane->cache->ops->distrust(lane->store);
		} else if (fits_model(model, value)) {
			return true;
		}
	}
	account_corrupt(lane, model);
	return false;
}

/* The secret that keys are made under, or NULL while a store that keeps it has not told it yet. */
static const struct digest_secret *
current_secret(struct engine_lane *lane)
{
	const struct cache_secret *shared;

	if (lane->cache->has_secret) {
		return &lane->cache->secret;
	}
	shared = lane->cache->ops->secret(lane->store);
	if (shared == NULL) {
		return NULL;
	}
	if (shared->generation != lane->shared_generation) {
		digest_secret_init(&lane->shared_secret, bytes_make(shared->bytes, sizeof(shared->bytes)));
		lane->shared_generation = shared->generation;
	}
	return &lane->shared_secret;
}

/* Takes what an immediate store has for a slice: true where that is its answer. */
static bool
take_value(struct slice *slice, struct blob *value)
{
	struct inference_request *request = slice->request;
	struct freshness_entry freshness = entry_freshness(value);
	bool on_error;

	switch (freshness_judge(&request->model->freshness, &request->directives, &freshness, clock_wall_ms(),
				lane_chance(request->lane), &on_error)) {
	case FRESHNESS_REVALIDATE:
		slice->revalidate = cache_directives_renew(&request->directives);
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

/* A store that answers at once is asked before anything is allocated: this is the path of a hit. */
static void
look_at_once(struct inference_request *request)
{
	struct engine_lane *lane = request->lane;
	size_t count = request->slice_count;
	struct blob *one = NULL;
	struct cache_lookup lookup = {.keys = &request->slices[0].key, .count = count, .values = &one};

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
	(void)lane->cache->ops->lookup(lane->store, &lookup);
	for (size_t i = 0; i < count; i++) {
		if (lookup.values[i] != NULL) {
			(void)take_value(&request->slices[i], lookup.values[i]);
		}
	}
	request->lookup_ns = clock_now_ns() - request->keyed_ns;
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
	const struct digest_secret *secret = current_secret(lane);

	if (secret != NULL && rows_make_keys(request, lane->digest, secret, &lane->scratch)) {
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
	struct slice **list = arena_array(request->arena, request->slice_count, sizeof(*list));
	size_t count;

	if (list == NULL) {
		request->status = error_set(&request->error, STATUS_UNAVAILABLE, "no memory for the request");
		conclude(request);
		return;
	}
	count = list_slices(request, list, true);
	if (count > 0) {
		trip_start_refresh(request->lane, list, count);
	}
	count = list_slices(request, list, false);
	if (count == 0) {
		finish(request);
		return;
	}
	become_pending(request);
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
	uint64_t start = clock_now_ns();

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
	if (mode.looks && lane->cache->ops->immediate) {
		look_at_once(request);
		if (request->model->cache_policy.admission == ADMISSION_AUTO) {
			account_lookup_cost(request->model, clock_now_ns() - start, request->slice_count);
		}
		mode.looks = mode.shared;
	}
	send_off(request, mode);
	return true;
}

static void
infer_valid(struct inference_request *request)
{
	struct engine_lane *lane = request->lane;
	struct model *model = request->model;
	bool cached = lane->cache != NULL && model->config.response_cache;
	bool only = request->directives.only;

	set_level(request);
	request->report.cached = cached;
	if (!rows_cut(request, !cached || atomic_load_explicit(&model->whole, memory_order_relaxed))) {
		request->status = error_set(&request->error, STATUS_UNAVAILABLE, "no memory for the request");
		request->slice_count = 0;
		conclude(request);
		return;
	}
	if (cached && infer_cached(request)) {
		return;
	}
	request->keyed_ns = clock_now_ns();
	if (request->slice_count > 1) {
		enum slice_result result = request->slices[0].result;

		if (rows_cut(request, true)) {
			request->slices[0].result = result;
		}
	}
	send_off(request, (struct trip_mode){.runs = !only});
}

bool
engine_infer(struct engine_lane *lane, struct inference_request *request)
{
	struct model *model = request->model;

	request->lane = lane;
	request->entry = NULL;
	request->start_ns = clock_now_ns();
	request->ordered = arena_array(request->arena, model->config.input_count, sizeof(*request->ordered));
	request->status =
		request->ordered == NULL
			? error_set(&request->error, STATUS_UNAVAILABLE, "no memory for the request")
			: validate_request(&model->config, request, request->ordered, &request->batch, &request->error);
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
	return lane->cache == NULL || lane->cache->ops->purge(lane->store, purge);
}

/* --- Lanes --- */

struct engine *
engine_new(struct response_cache *cache)
{
	struct engine *engine = aligned_alloc(_Alignof(struct engine), sizeof(*engine));

	if (engine == NULL) {
		abort();
	}
	engine->cache = cache;
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
	random_bytes(&lane->random, sizeof(lane->random));
	lane->random |= 1;
	cache_host_init(&lane->host, loop);
	if (engine->cache != NULL) {
		lane->store = engine->cache->ops->attach(engine->cache->store, &lane->host);
		lane->digest = digest_new((enum digest_kind)engine->cache->settings.key_hash);
		buf_init(&lane->scratch, SCRATCH_MAX);
		/* Without memory for these the loop serves uncached. */
		lane->cache = lane->store != NULL && lane->digest != NULL ? engine->cache : NULL;
	}
	return lane;
}

void
engine_lane_drain(struct engine_lane *lane, void (*done)(void *argument), void *argument)
{
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
	digest_free(lane->digest);
	buf_fini(&lane->scratch);
	loop_timer_free(lane->deadline_timer);
	free(lane);
}
