#include "base/clock.h"
#include "inference/engine_internal.h"
#include "inference/cache/entry.h"
#include "inference/prepare.h"
#include "inference/rows.h"

/* Takes a value that the store returned at once: as the slice's answer if it is good. Others: judge in fetch_values.c.
 */
static void
take_value(struct slice *slice, struct blob *value)
{
	struct inference_request *request = slice->request;
	struct request_state *state = request->state;
	struct freshness_entry freshness = entry_freshness(value);
	enum freshness verdict;
	bool on_error;

	if (value_purged(state->lane, request->model, &freshness, state->wall_ms)) {
		blob_unref(value);
		return;
	}
	verdict = freshness_judge(&request->model->freshness, &request->directives, &freshness, state->wall_ms,
				  lane_chance(state->lane), &on_error);
	switch (verdict) {
	case FRESHNESS_REVALIDATE:
		slice->revalidate =
			lane_renews(state->lane, &request->directives, &slice->key, &freshness, state->wall_ms);
		state->renews = state->renews || slice->revalidate;
		break;
	case FRESHNESS_USE:
		break;
	case FRESHNESS_TOO_OLD:
	case FRESHNESS_STALE:
		slice->unwanted = verdict == FRESHNESS_TOO_OLD && request->directives.has_max_age;
		slice->expired = !slice->unwanted;
		if (on_error) {
			slice->stale = value;
		} else {
			blob_unref(value);
		}
		return;
	}
	slice->entry = value;
	slice->result = SLICE_HIT;
	slice->resolved = true;
	state->unresolved--;
}

/* The fast path of a hit: asks for what the store can return at once, before a fetch is allocated. */
static void
look_at_once(struct inference_request *request)
{
	struct request_state *state = request->state;
	struct engine_lane *lane = state->lane;
	size_t count = state->slice_count;
	struct blob *one = NULL;
	struct cache_lookup lookup = {
		.keys = &state->slices[0].key, .count = count, .values = &one, .now_ns = state->keyed_ns};

	if (count > 1) {
		struct cache_key *keys = arena_array(request->arena, count, sizeof(*keys));

		lookup.values = arena_array(request->arena, count, sizeof(struct blob *));
		lookup.keys = keys;
		if (keys == NULL || lookup.values == NULL) {
			return;
		}
		for (size_t i = 0; i < count; i++) {
			keys[i] = state->slices[i].key;
		}
	}
	for (size_t i = 0; i < count; i++) {
		state->slices[i].completions = flight_completions(&lane->engine->flights, &state->slices[i].key.digest);
	}
	if (lane->cache->ops->synchronous) {
		(void)lane->cache->ops->lookup(lane->store, &lookup);
	} else {
		lane->cache->ops->peek(lane->store, &lookup);
	}
	for (size_t i = 0; i < count; i++) {
		if (lookup.values[i] != NULL) {
			state->wall_ms = state->wall_ms == 0 ? clock_wall_ms() : state->wall_ms;
			take_value(&state->slices[i], lookup.values[i]);
		}
	}
	if (state->unresolved > 0) { /* a full hit is timed to the end of the request instead */
		state->lookup_ns = clock_now_ns() - state->keyed_ns;
	}
}

/* --- Requests --- */

static void
set_results(struct inference_request *request, enum slice_result result)
{
	for (size_t i = 0; i < request->state->slice_count; i++) {
		request->state->slices[i].result = result;
	}
}

/* Gives every slice a key. If that fails, the request runs as if there were no cache. */
static bool
make_keys(struct inference_request *request)
{
	struct request_state *state = request->state;
	struct engine_lane *lane = state->lane;
	enum key_state keys = lane_has_keys(lane) ? request_key_state(request) : KEY_IMPOSSIBLE;

	if (keys == KEY_MADE || (keys == KEY_NOT_MADE && rows_make_keys(request, lane->key_hash, &lane->scratch))) {
		return true;
	}
	for (size_t i = 0; i < state->slice_count; i++) {
		state->slices[i].keyed = false;
	}
	return false;
}

static size_t
list_slices(const struct inference_request *request, struct slice **list, bool revalidate)
{
	size_t count = 0;

	for (size_t i = 0; i < request->state->slice_count; i++) {
		struct slice *slice = &request->state->slices[i];

		if (revalidate ? slice->revalidate : !slice->resolved) {
			list[count++] = slice;
		}
	}
	return count;
}

/* Sends the slices that have no answer yet, and those to be renewed. */
static void
send_off(struct inference_request *request, struct fetch_mode mode)
{
	struct request_state *state = request->state;
	struct slice **list;
	size_t count;

	if (state->unresolved == 0 && !state->renews) {
		request_finish(request);
		return;
	}
	list = arena_array(request->arena, state->slice_count, sizeof(*list));
	if (list == NULL) {
		request->status = error_set(request->error, STATUS_UNAVAILABLE, "no memory for the request");
		request_conclude(request);
		return;
	}
	count = list_slices(request, list, true);
	if (count > 0) {
		fetch_start_refresh(state->lane, list, count);
	}
	count = list_slices(request, list, false);
	if (count == 0) {
		request_finish(request);
		return;
	}
	request_become_pending(request);
	request_send(request, list, count, mode);
}

/* Answers through the cache. Returns false if the request can have no key, or does not ask the cache. */
static bool
infer_cached(struct inference_request *request)
{
	struct request_state *state = request->state;
	const struct cache_directives *wish = &request->directives;
	struct engine_lane *lane = state->lane;
	struct fetch_mode mode = {
		.shared = !wish->refresh && !wish->no_store && !wish->only && !wish->alone,
		.looks = !wish->refresh,
		.runs = !wish->only,
		.stores = !wish->no_store && !wish->only,
	};
	bool timed = request->model->cache_policy.admission == ADMISSION_AUTO;
	uint64_t start = timed ? clock_now_ns() : 0;

	if (!request_asks_cache(request)) {
		set_results(request, SLICE_BYPASSED);
		return false;
	}
	if (!make_keys(request)) {
		set_results(request, SLICE_ERROR);
		return false;
	}
	state->keyed_ns = clock_now_ns();
	state->looked_up = true;
	set_results(request, SLICE_MISS);
	if (mode.looks && cache_tells_at_once(lane->cache->ops)) {
		bool all = lane->cache->ops->synchronous;

		look_at_once(request);
		if (timed && (all || state->unresolved == 0)) { /* else the fetch times its look-up */
			account_lookup_cost(request->model, clock_now_ns() - start + request_key_ns(request),
					    state->slice_count);
		}
		/* All of the store was asked: once more only if a flight has ended meanwhile (fetch->asks_again). */
		mode.looks = mode.shared || !all;
	}
	send_off(request, mode);
	return true;
}

static void
infer_valid(struct inference_request *request)
{
	struct request_state *state = request->state;
	struct engine_lane *lane = state->lane;
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
	state->row_losses = model_row_losses(model); /* after model_by_row, to count a loss that it saw */
	if (!request_is_cut(request, by_row) && !rows_cut(request, by_row)) {
		request->status = error_set(request->error, STATUS_UNAVAILABLE, "no memory for the request");
		state->slice_count = 0;
		request_conclude(request);
		return;
	}
	if (cached && infer_cached(request)) {
		return;
	}
	state->keyed_ns = clock_now_ns();
	if (state->by_row) {
		enum slice_result result = state->slices[0].result;

		if (rows_cut(request, false)) {
			state->slices[0].result = result;
		}
	}
	send_off(request, (struct fetch_mode){.runs = !only, .audits = request->audits, .unbatched = request->audits});
}

bool
engine_infer(struct engine_lane *lane, struct inference_request *request)
{
	struct request_state *state = request_state_of(request);
	struct model *model = request->model;

	request->entry = NULL;
	if (state == NULL) {
		request->status = error_set(request->error, STATUS_UNAVAILABLE, "no memory for the request");
		return true;
	}
	state->lane = lane;
	state->start_ns = state->preparation == NULL ? clock_now_ns() : state->start_ns;
	request->status = request_checked(request);
	if (request->status != STATUS_OK) {
		return true;
	}
	if (model->ordering != NULL) {
		ordering_enter(model->ordering, &state->order);
	}
	state->starting = true;
	infer_valid(request);
	state->starting = false;
	if (!state->answered && !state->pending) { /* its turn in the order has not come */
		state->pending = true;
		(void)model_ref(model);
		lane->underway++;
	} else if (state->answered && state->pending) {
		state->pending = false;
		model_unref(model);
		lane_less_underway(lane);
	}
	return state->answered;
}

void
engine_cancel(struct inference_request *request)
{
	request_withdraw(request, STATUS_CANCELLED, "the client closed the connection");
}

bool
engine_purge(struct engine_lane *lane, struct cache_purge *purge)
{
	return lane_purge(lane, purge);
}
