/*
 * Leases, between the look-up and the run of a fetch, if servers share a store: the first server to get the lease of a
 * question runs it, the others wait for its answer in the store. Whatever goes wrong costs a second run, never an
 * answer.
 *
 * A fetch waits only while all its unanswered flights are leased to others: with one lease of its own it runs them all
 * at once, so that no two batches ever wait for each other.
 */
#include "base/clock.h"
#include "base/container_of.h"
#include "inference/fetch/account.h"
#include "inference/fetch/fetch.h"

#define TERM_MIN_MS 50
#define TERM_MAX_MS 60000
#define INTERVAL_MIN_NS NS_PER_MS
#define INTERVAL_FIRST_MAX_NS (50 * NS_PER_MS)
#define INTERVAL_MAX_NS (100 * NS_PER_MS)

/* --- Polled values --- */

/* Treats the values of a poll like those of the first look-up. */
static void
take_values(struct fetch_claim *claim)
{
	struct fetch *fetch = claim->fetch;

	fetch->lookup.failed = false; /* the store was asked, and had nothing: that is a miss */
	for (size_t k = 0; k < claim->lookup.count; k++) {
		fetch->lookup.values[claim->asked[k]] = claim->values[k];
	}
	fetch_take_values(fetch);
}

/* Is any unanswered flight not leased to another server, or did the look-up fail? */
static bool
may_run(const struct fetch_claim *claim)
{
	for (size_t i = 0; i < claim->fetch->count; i++) {
		const struct flight_claim *one = &claim->flights[i];

		if (!one->flight->answered && one->lease.result != CACHE_LEASE_HELD) {
			return true;
		}
	}
	return claim->lookup.failed;
}

/* Ends the wait and runs. */
static void
run(struct fetch *fetch)
{
	struct lease_statistics counts = {0};

	for (size_t i = 0; i < fetch->count; i++) {
		const struct flight_claim *one = &fetch->claim->flights[i];

		if (!one->flight->answered) {
			counts.granted += one->owned;
			counts.takeover += one->owned && fetch->claim->waited;
			counts.duplicate += !one->owned && fetch->claim->waited;
		}
	}
	account_leases(fetch, &counts);
	fetch_run(fetch);
	fetch_release(fetch);
}

/* --- Waiting --- */

static void
wait_until(struct fetch *fetch, uint64_t deadline_ns)
{
	struct engine_lane *lane = fetch->lane;

	fetch_list_add(&lane->waiting, fetch, deadline_ns);
	if (TAILQ_FIRST(&lane->waiting) == fetch) {
		fetch_list_arm(&lane->waiting, lane->wait_timer);
	}
}

static uint64_t
lower_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The expected duration: a row alone may take as long as a batch. */
static uint64_t
span_ns(const struct fetch *fetch)
{
	uint64_t span = atomic_load_explicit(&fetch->model->run_span_ns, memory_order_relaxed);
	uint64_t cost = fetch_run_cost_ns(fetch);

	return span > cost ? span : cost;
}

/*
 * Another server gets twice the usual time of the run. The last poll comes a little later, so that the lease of a
 * server that died has expired and can be taken over; after it, this server runs by itself.
 */
static void
begin_to_wait(struct fetch *fetch, uint64_t now)
{
	struct fetch_claim *claim = fetch->claim;
	uint64_t cost = span_ns(fetch);
	uint64_t first = lower_of(cost / 4, INTERVAL_FIRST_MAX_NS);

	claim->waited = true;
	claim->last_poll_ns = now + 2 * cost + cost / 4;
	claim->interval_ns = first < INTERVAL_MIN_NS ? INTERVAL_MIN_NS : first;
	account_leases(fetch, &(struct lease_statistics){.held = fetch_unanswered(fetch)});
}

static void
wait_for_poll(struct fetch *fetch, uint64_t now)
{
	struct fetch_claim *claim = fetch->claim;
	uint64_t after = (uint64_t)((double)claim->interval_ns * (0.75 + lane_chance(fetch->lane) / 2));

	wait_until(fetch, lower_of(now + after, claim->last_poll_ns));
	claim->interval_ns = lower_of(2 * claim->interval_ns, INTERVAL_MAX_NS);
}

/* Acts on the answers of the store, which came in time. */
static void
decide(struct fetch *fetch)
{
	struct fetch_claim *claim = fetch->claim;
	size_t unanswered = fetch_unanswered(fetch);
	uint64_t now = clock_now_ns();

	take_values(claim);
	if (claim->waited) {
		account_leases(fetch, &(struct lease_statistics){.answered = unanswered - fetch_unanswered(fetch)});
	}
	fetch_drop_unwanted(fetch);
	for (size_t i = 0; i < fetch->count; i++) {
		if (claim->flights[i].flight->answered) {
			fetch_let_go(&claim->flights[i]);
		}
	}
	if (fetch_unanswered(fetch) == 0 || fetch->lane->stops_waiting || may_run(claim) ||
	    (claim->waited && now >= claim->last_poll_ns)) {
		run(fetch);
		return;
	}
	if (!claim->waited) {
		begin_to_wait(fetch, now);
	}
	wait_for_poll(fetch, now);
}

/* --- Asking --- */

static void
on_answer(struct fetch_claim *claim)
{
	struct fetch *fetch = claim->fetch;

	if (--claim->due > 0) {
		return;
	}
	if (fetch->state == FETCH_WAITING) {
		TAILQ_REMOVE(&fetch->lane->waiting, fetch, deadline);
		decide(fetch);
	} else {
		take_values(claim); /* late, but perhaps before the model */
		if (fetch->job_pending && fetch_unanswered(fetch) == 0) {
			fetch_withdraw(fetch);
		}
	}
	fetch_release(fetch);
}

static void
on_lease(struct cache_lease *lease)
{
	struct flight_claim *one = container_of(lease, struct flight_claim, lease);

	one->owned = lease->result == CACHE_LEASE_GRANTED;
	on_answer(one->claim);
}

static void
on_lookup(struct cache_lookup *lookup)
{
	on_answer(container_of(lookup, struct fetch_claim, lookup));
}

/* The term of a lease: time for the run and the queue before it. */
static uint64_t
term_ms(const struct fetch *fetch)
{
	uint64_t row = atomic_load_explicit(&fetch->model->run_cost_ns, memory_order_relaxed);
	uint64_t term = (2 * span_ns(fetch) + model_pending(fetch->model) * row) / NS_PER_MS;

	return term < TERM_MIN_MS ? TERM_MIN_MS : term > TERM_MAX_MS ? TERM_MAX_MS : term;
}

static void
fill(struct fetch_claim *claim)
{
	struct fetch *fetch = claim->fetch;
	uint64_t term = term_ms(fetch);
	bool found_before = false;
	size_t count = 0;

	for (size_t i = 0; i < fetch->count; i++) {
		struct flight *flight = &fetch->flights[i];

		if (flight->answered) {
			continue;
		}
		claim->flights[i].lease = (struct cache_lease){
			.key = &flight->key, .term_ms = term, .result = CACHE_LEASE_UNKNOWN, .done = on_lease};
		claim->flights[i].ends_ns = clock_now_ns() + term * NS_PER_MS;
		found_before = found_before || flight->expired || flight->unwanted;
		claim->keys[count] = flight->key;
		claim->values[count] = NULL;
		claim->asked[count++] = i;
	}
	claim->lookup = (struct cache_lookup){.keys = claim->keys,
					      .count = count,
					      .values = claim->values,
					      .now_ns = clock_now_ns(),
					      .counted = found_before ? CACHE_COUNT_NOTHING : CACHE_COUNT_HITS,
					      .done = on_lookup};
}

/*
 * Asks for the leases first, then for the answers: a server stores before it releases its lease, so this look-up finds
 * the answer of a lease that is free now.
 */
static void
ask(struct fetch *fetch)
{
	struct engine_lane *lane = fetch->lane;
	struct fetch_claim *claim = fetch->claim;
	uint64_t now = clock_now_ns();
	uint64_t begin = now > claim->last_poll_ns ? now : claim->last_poll_ns;

	wait_until(fetch, begin + fetch_lookup_timeout_ns(fetch));
	fill(claim);
	fetch_hold(fetch);
	claim->due = claim->lookup.count + 2; /* the last one is this function's */
	for (size_t k = 0; k < claim->lookup.count; k++) {
		struct cache_lease *lease = &claim->flights[claim->asked[k]].lease;

		if (lane->cache->ops->lease(lane->store, lease)) {
			on_lease(lease);
		}
	}
	if (lane->cache->ops->lookup(lane->store, &claim->lookup)) {
		on_lookup(&claim->lookup);
	}
	on_answer(claim);
}

void
lane_on_wait(void *argument)
{
	struct engine_lane *lane = argument;
	uint64_t now = clock_now_ns();
	struct fetch *fetch;

	if (fetch_list_due(&lane->waiting, now) != NULL) {
		lane_catch_up(lane);
	}
	while ((fetch = fetch_list_due(&lane->waiting, now)) != NULL) {
		TAILQ_REMOVE(&lane->waiting, fetch, deadline);
		fetch_drop_unwanted(fetch);
		if (fetch->claim->due > 0 || fetch_unanswered(fetch) == 0) {
			run(fetch);
		} else {
			ask(fetch);
		}
	}
	fetch_list_arm(&lane->waiting, lane->wait_timer);
}

void
fetch_stop_waiting(struct engine_lane *lane)
{
	struct fetch *fetch;

	lane->stops_waiting = true;
	while ((fetch = TAILQ_FIRST(&lane->waiting)) != NULL) {
		TAILQ_REMOVE(&lane->waiting, fetch, deadline);
		fetch_drop_unwanted(fetch);
		run(fetch);
	}
}

/* --- Whether to lease --- */

/* A lease costs another look-up, and is useful only if the answer will be stored. */
static bool
is_worthwhile(const struct fetch *fetch)
{
	const struct response_cache *cache = fetch->lane->cache;
	uint64_t run = atomic_load_explicit(&fetch->model->run_cost_ns, memory_order_relaxed);
	uint64_t lookup = atomic_load_explicit(&fetch->model->lookup_cost_ns, memory_order_relaxed);
	bool wants_own = fetch->directives.has_max_age && fetch->directives.max_age_s == 0;

	return cache->settings.coalesce == COALESCE_SHARED && cache->ops->lease != NULL && fetch->mode.looks &&
	       fetch->mode.runs && fetch->mode.stores && !fetch->lookup.failed && !fetch->lane->stops_waiting &&
	       !wants_own && run / 2 > lookup &&
	       !atomic_load_explicit(&fetch->model->too_large, memory_order_relaxed) && fetch_unanswered(fetch) > 0;
}

static bool
make_claim(struct fetch *fetch)
{
	struct fetch_claim *claim = arena_get(&fetch->arena, sizeof(*claim));

	if (claim == NULL) {
		return false;
	}
	claim->fetch = fetch;
	claim->keys = arena_array(&fetch->arena, fetch->count, sizeof(*claim->keys));
	claim->values = arena_array(&fetch->arena, fetch->count, sizeof(struct blob *));
	claim->asked = arena_array(&fetch->arena, fetch->count, sizeof(*claim->asked));
	claim->flights = arena_array(&fetch->arena, fetch->count, sizeof(*claim->flights));
	if (claim->keys == NULL || claim->values == NULL || claim->asked == NULL || claim->flights == NULL) {
		return false;
	}
	for (size_t i = 0; i < fetch->count; i++) {
		claim->flights[i].claim = claim;
		claim->flights[i].flight = &fetch->flights[i];
	}
	fetch->claim = claim;
	return true;
}

void
fetch_claim(struct fetch *fetch)
{
	if (!is_worthwhile(fetch) || !make_claim(fetch)) {
		fetch_run(fetch);
		return;
	}
	fetch->state = FETCH_WAITING;
	fetch_hold(fetch); /* until it runs */
	ask(fetch);
}
