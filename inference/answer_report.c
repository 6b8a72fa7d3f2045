/* What a request reports beside its answer: what the cache did, the answer's age, and how long its runs took. */
#include "base/clock.h"
#include "inference/engine_internal.h"
#include "inference/cache/entry.h"

static void
report_age(struct inference_request *request)
{
	struct request_state *state = request->state;
	struct cache_report *report = &request->report;
	uint64_t now = state->wall_ms;

	for (size_t i = 0; i < state->slice_count; i++) {
		struct freshness_entry freshness = entry_freshness(state->slices[i].entry);
		uint64_t age = now > freshness.created_ms ? now - freshness.created_ms : 0;
		int64_t left = ((int64_t)freshness.lifetime_ms - (int64_t)age);

		if (freshness_is_ahead(&freshness, now)) {
			continue; /* the age is unknown */
		}
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
	struct request_state *state = request->state;
	struct cache_report *report = &request->report;
	bool expired = false;
	bool unwanted = request->directives.refresh;
	bool bypassed = false;
	size_t joined = 0;

	report->rows = state->slice_count;
	for (size_t i = 0; i < state->slice_count; i++) {
		const struct slice *slice = &state->slices[i];

		report->known += slice->result == SLICE_HIT || slice->result == SLICE_JOINED;
		joined += slice->result == SLICE_JOINED;
		report->stored = report->stored || slice->stored;
		expired = expired || slice->expired;
		unwanted = unwanted || slice->unwanted;
		bypassed = bypassed || slice->result == SLICE_BYPASSED;
	}
	if (report->known < report->rows && state->lane->cache->ops->trouble != NULL &&
	    (report->stored || lane_lacks_secret(state->lane))) {
		report->trouble = state->lane->cache->ops->trouble(state->lane->store);
		report->stored = report->trouble == NULL;
	}
	report->joined = joined == report->rows;
	if (report->known > 0 && state->pending) { /* entries that it waited for are younger than wall_ms */
		state->wall_ms = clock_wall_ms();
	}
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
keep_longest(uint64_t *longest, uint64_t ns)
{
	*longest = ns > *longest ? ns : *longest;
}

static void
write_times(struct inference_request *request)
{
	for (size_t i = 0; i < request->state->slice_count; i++) {
		const struct run_times *times = &request->state->slices[i].times;

		keep_longest(&request->times.queue_ns, times->queue_ns);
		keep_longest(&request->times.input_ns, times->input_ns);
		keep_longest(&request->times.infer_ns, times->infer_ns);
		keep_longest(&request->times.output_ns, times->output_ns);
	}
}

/* Dates for an answer made from this one: earliest creation, earliest expiry. */
static void
write_dates(struct inference_request *request)
{
	uint64_t now = clock_wall_ms();

	for (size_t i = 0; i < request->state->slice_count && request->status == STATUS_OK; i++) {
		struct freshness_entry freshness = entry_freshness(request->state->slices[i].entry);
		uint64_t created =
			freshness_is_ahead(&freshness, now) ? 1 : freshness.created_ms; /* unknown: the oldest date */
		uint64_t expires = created + freshness.lifetime_ms;

		if (request->created_ms == 0 || created < request->created_ms) {
			request->created_ms = created;
		}
		if (freshness.lifetime_ms > 0 && (request->expires_ms == 0 || expires < request->expires_ms)) {
			request->expires_ms = expires;
		}
	}
}

void
request_report(struct inference_request *request)
{
	write_times(request);
	if (request->wants_dates) {
		write_dates(request);
	}
	if (request->report.cached) {
		write_report(request);
	}
}
