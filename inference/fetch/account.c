#include "base/clock.h"
#include "base/moving_average.h"
#include "inference/fetch/account.h"
#include "inference/cache/entry.h"
#include "inference/fetch/request_trace.h"

#define HITS_COUNTED_ALL 1000
#define HITS_SAMPLED 8

static enum failure_reason
failure_reason(enum status status)
{
	switch (status) {
	case STATUS_UNAVAILABLE:
		return FAILURE_REJECTED;
	case STATUS_CANCELLED:
		return FAILURE_CANCELED;
	case STATUS_INTERNAL:
		return FAILURE_BACKEND;
	default:
		return FAILURE_OTHER;
	}
}

static void
count_slice(struct model_statistics *sums, const struct slice *slice, uint64_t now_ms)
{
	/* A request that bypassed the cache is one slice, but all its rows count. */
	uint64_t rows = slice->rows > 1 && row_trust_by_row(&slice->request->model->rows) ? slice->rows : 1;

	sums->lookups += rows;
	switch (slice->result) {
	case SLICE_HIT:
		sums->hits += rows;
		break;
	case SLICE_JOINED:
		sums->joined += rows;
		break;
	case SLICE_BYPASSED:
		sums->bypassed += rows;
		break;
	case SLICE_ERROR:
		sums->errors += rows;
		break;
	default:
		sums->misses += rows;
		break;
	}
	if ((slice->result == SLICE_HIT || slice->result == SLICE_JOINED) && slice->entry != NULL) {
		struct freshness_entry freshness = entry_freshness(slice->entry);
		uint64_t age_ms = now_ms > freshness.created_ms ? now_ms - freshness.created_ms : 0;

		sums->saved_us += freshness.cost_us;
		if (slice->result == SLICE_HIT) {
			histogram_add(&sums->hit_age, hit_age_bounds, age_ms / 1000);
			sums->stale += freshness.lifetime_ms > 0 && age_ms >= freshness.lifetime_ms;
		}
	}
}

/* Hits are many: from some on, some stand for all, drawn by chance, as requests may come in a pattern. */
static void
count_key(struct engine_lane *lane, const struct model_statistics *sums, const struct slice *slice)
{
	bool is_hit = slice->result == SLICE_HIT || slice->result == SLICE_JOINED;
	bool is_sampled = is_hit && sums->hits > HITS_COUNTED_ALL;
	struct key_statistics *keys;
	uint64_t key;

	if (!slice->keyed || slice->entry == NULL || (!is_hit && slice->result != SLICE_MISS) ||
	    (is_sampled && lane_random(lane) % HITS_SAMPLED != 0)) {
		return;
	}
	keys = statistics_keys(slice->request->model->statistics, lane->index);
	memcpy(&key, slice->key.digest.bytes, sizeof(key));
	top_keys_add(is_hit ? &keys->saved : &keys->spent, key, entry_freshness(slice->entry).cost_us,
		     is_sampled ? HITS_SAMPLED : 1, slice->entry->length);
}

static void
record(struct engine_lane *lane, const struct request_state *state, uint64_t now_ns)
{
	uint64_t asked_ms = clock_wall_ms() - (now_ns - state->start_ns) / NS_PER_MS;

	for (size_t i = 0; i < state->slice_count; i++) {
		request_trace_add(lane->engine->trace, lane->index, &state->slices[i], asked_ms);
	}
}

static bool
is_answered_from_cache(const struct inference_request *request)
{
	return request->report.cached && request->report.forward == FORWARD_NONE;
}

void
account_request(struct engine_lane *lane, struct inference_request *request)
{
	struct request_state *state = request->state;
	struct model_statistics *sums;
	uint64_t now = clock_now_ns();

	if (request->audits) {
		return;
	}
	sums = statistics_begin(request->model->statistics, lane->index);
	if (request->status == STATUS_OK) {
		duration_add(&sums->success, now - state->start_ns);
		latency_add(&sums->latencies[is_answered_from_cache(request) ? LATENCY_HIT : LATENCY_MODEL],
			    now - state->start_ns);
	} else {
		duration_add(&sums->fail, now - state->start_ns);
		sums->failures[failure_reason(request->status)]++;
	}
	if (request->report.cached) {
		for (size_t i = 0; i < state->slice_count; i++) {
			count_slice(sums, &state->slices[i], state->wall_ms);
			count_key(lane, sums, &state->slices[i]);
		}
		if (lane->engine->trace != NULL) {
			record(lane, state, now);
		}
	}
	if (request->status == STATUS_OK && is_answered_from_cache(request)) {
		duration_add(&sums->queue, (request->report.joined ? now : state->keyed_ns) - state->start_ns);
		duration_add(&sums->cache_hit, now - state->keyed_ns);
	} else {
		if (request->status == STATUS_OK) {
			duration_add(&sums->queue, request->times.queue_ns);
		}
		if (state->looked_up) {
			duration_add(&sums->cache_miss, state->lookup_ns);
		}
	}
	statistics_end(request->model->statistics, lane->index);
}

void
account_insert(struct fetch *fetch, const struct blob *entry, uint64_t ns)
{
	struct model_statistics *sums = statistics_begin(fetch->model->statistics, fetch->lane->index);

	sums->cache_miss.ns += ns;
	histogram_add(&sums->value_size, value_size_bounds, entry->length);
	statistics_end(fetch->model->statistics, fetch->lane->index);
}

void
account_corrupt(struct engine_lane *lane, struct model *model, bool wrong_mac)
{
	struct model_statistics *sums = statistics_begin(model->statistics, lane->index);

	sums->corrupt++;
	sums->wrong_mac += wrong_mac;
	statistics_end(model->statistics, lane->index);
}

void
account_too_large(struct engine_lane *lane, struct model *model)
{
	statistics_begin(model->statistics, lane->index)->too_large++;
	statistics_end(model->statistics, lane->index);
}

void
account_leases(struct fetch *fetch, const struct lease_statistics *counts)
{
	statistics_add_leases(&statistics_begin(fetch->model->statistics, fetch->lane->index)->leases, counts);
	statistics_end(fetch->model->statistics, fetch->lane->index);
}

void
account_refreshes(struct engine_lane *lane, struct model *model, size_t rows)
{
	statistics_begin(model->statistics, lane->index)->refreshes += rows;
	statistics_end(model->statistics, lane->index);
}

void
account_lookup_cost(struct model *model, uint64_t ns, size_t rows)
{
	moving_average_add(&model->lookup_cost_ns, ns / rows);
}
