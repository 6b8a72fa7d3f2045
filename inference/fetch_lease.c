/*
 * Between the halves of a trip, where servers share a store: the first of them to ask for a question's lease runs it,
 * the others wait until its answer is in the store. Whatever goes wrong there costs a second run, never an answer.
 *
 * A trip waits only while all that it lacks is leased to others: with one lease of its own it runs everything at once,
 * so that no two batches ever wait for each other.
 */
#include "base/clock.h"
#include "inference/engine_internal.h"

#define MILLISECOND UINT64_C(1000000)
#define TERM_MIN_MS 50
#define TERM_MAX_MS 60000
#define INTERVAL_MIN_NS MILLISECOND
#define INTERVAL_FIRST_MAX_NS (50 * MILLISECOND)
#define INTERVAL_MAX_NS (100 * MILLISECOND)

/* --- What others have --- */

/* What a poll found goes the way of the first look-up's values. */
static void
take_values(struct trip_claim *claim)
{
	struct trip *trip = claim->trip;

	trip->lookup.failed = false; /* the store was asked, and had nothing: that is a miss */
	for (size_t k = 0; k < claim->lookup.count; k++) {
		trip->lookup.values[claim->asked[k]] = claim->values[k];
	}
	trip_take_values(trip);
}

/* Is any of them this trip's to run, or is it unclear whose? */
static bool
may_run(const struct trip_claim *claim)
{
	for (size_t i = 0; i < claim->trip->count; i++) {
		const struct flight_claim *one = &claim->flights[i];

		if (!one->flight->answered && one->lease.result != CACHE_LEASE_HELD) {
			return true;
		}
	}
	return claim->lookup.failed;
}

/* The end of the wait. */
static void
run(struct trip *trip)
{
	struct lease_statistics counts = {0};

	for (size_t i = 0; i < trip->count; i++) {
		const struct flight_claim *one = &trip->claim->flights[i];

		if (!one->flight->answered) {
			counts.granted += one->owned;
			counts.takeover += one->owned && trip->claim->waited;
			counts.duplicate += !one->owned && trip->claim->waited;
		}
	}
	account_leases(trip, &counts);
	trip_run(trip);
	trip_release(trip);
}

/* --- Waiting --- */

static void
wait_until(struct trip *trip, uint64_t deadline_ns)
{
	struct engine_lane *lane = trip->lane;

	trip_list_add(&lane->waiting, trip, deadline_ns);
	if (TAILQ_FIRST(&lane->waiting) == trip) {
		trip_list_arm(&lane->waiting, lane->wait_timer);
	}
}

static uint64_t
lower_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A row alone may take as long as a batch does. */
static uint64_t
span_ns(const struct trip *trip)
{
	uint64_t span = atomic_load_explicit(&trip->model->run_span_ns, memory_order_relaxed);
	uint64_t cost = trip_run_cost_ns(trip);

	return span > cost ? span : cost;
}

/*
 * Twice what the run usually takes is time enough for another server. A little more, so that the lease of one that died
 * has run out by then and somebody takes it over; then this one runs for itself.
 */
static void
begin_to_wait(struct trip *trip, uint64_t now)
{
	struct trip_claim *claim = trip->claim;
	uint64_t cost = span_ns(trip);
	uint64_t first = lower_of(cost / 4, INTERVAL_FIRST_MAX_NS);

	claim->waited = true;
	claim->last_poll_ns = now + 2 * cost + cost / 4;
	claim->interval_ns = first < INTERVAL_MIN_NS ? INTERVAL_MIN_NS : first;
	account_leases(trip, &(struct lease_statistics){.held = trip_unanswered(trip)});
}

static void
wait_for_poll(struct trip *trip, uint64_t now)
{
	struct trip_claim *claim = trip->claim;
	uint64_t after = (uint64_t)((double)claim->interval_ns * (0.75 + lane_chance(trip->lane) / 2));

	wait_until(trip, lower_of(now + after, claim->last_poll_ns));
	claim->interval_ns = lower_of(2 * claim->interval_ns, INTERVAL_MAX_NS);
}

/* The store has answered everything, in time. */
static void
decide(struct trip *trip)
{
	struct trip_claim *claim = trip->claim;
	size_t unanswered = trip_unanswered(trip);
	uint64_t now = clock_now_ns();

	take_values(claim);
	if (claim->waited) {
		account_leases(trip, &(struct lease_statistics){.answered = unanswered - trip_unanswered(trip)});
	}
	trip_drop_unwanted(trip);
	for (size_t i = 0; i < trip->count; i++) {
		if (claim->flights[i].flight->answered) {
			trip_let_go(&claim->flights[i]);
		}
	}
	if (trip_unanswered(trip) == 0 || trip->lane->hurried || may_run(claim) ||
	    (claim->waited && now >= claim->last_poll_ns)) {
		run(trip);
		return;
	}
	if (!claim->waited) {
		begin_to_wait(trip, now);
	}
	wait_for_poll(trip, now);
}

/* --- Asking --- */

static void
on_answer(struct trip_claim *claim)
{
	struct trip *trip = claim->trip;

	if (--claim->due > 0) {
		return;
	}
	if (trip->state == TRIP_WAITING) {
		TAILQ_REMOVE(&trip->lane->waiting, trip, deadline);
		decide(trip);
	} else {
		take_values(claim); /* late, but perhaps before the model */
		if (trip->job_pending && trip_unanswered(trip) == 0) {
			trip_withdraw(trip);
		}
	}
	trip_release(trip);
}

static void
on_lease(struct cache_lease *lease)
{
	struct flight_claim *one = (struct flight_claim *)((char *)lease - offsetof(struct flight_claim, lease));

	one->owned = lease->result == CACHE_LEASE_GRANTED;
	on_answer(one->claim);
}

static void
on_lookup(struct cache_lookup *lookup)
{
	on_answer((struct trip_claim *)((char *)lookup - offsetof(struct trip_claim, lookup)));
}

/* Long enough for the run and the queue before it. */
static uint64_t
term_ms(const struct trip *trip)
{
	uint64_t row = atomic_load_explicit(&trip->model->run_cost_ns, memory_order_relaxed);
	uint64_t term = (2 * span_ns(trip) + model_pending(trip->model) * row) / MILLISECOND;

	return term < TERM_MIN_MS ? TERM_MIN_MS : term > TERM_MAX_MS ? TERM_MAX_MS : term;
}

static void
fill(struct trip_claim *claim)
{
	struct trip *trip = claim->trip;
	uint64_t term = term_ms(trip);
	bool found_before = false;
	size_t count = 0;

	for (size_t i = 0; i < trip->count; i++) {
		struct flight *flight = &trip->flights[i];

		if (flight->answered) {
			continue;
		}
		claim->flights[i].lease = (struct cache_lease){
			.key = &flight->key, .term_ms = term, .result = CACHE_LEASE_UNKNOWN, .done = on_lease};
		claim->flights[i].ends_ns = clock_now_ns() + term * MILLISECOND;
		found_before = found_before || flight->expired || flight->unwanted;
		claim->keys[count] = flight->key;
		claim->values[count] = NULL;
		claim->asked[count++] = i;
	}
	claim->lookup = (struct cache_lookup){.keys = claim->keys,
					      .count = count,
					      .values = claim->values,
					      .now_ns = clock_now_ns(),
					      .repeated = true,
					      .uncounted = found_before,
					      .done = on_lookup};
}

/*
 * For the leases, then for the answers: whoever held a lease that is free now has stored before, so that this look-up
 * finds it.
 */
static void
ask(struct trip *trip)
{
	struct engine_lane *lane = trip->lane;
	struct trip_claim *claim = trip->claim;
	uint64_t now = clock_now_ns();
	uint64_t begin = now > claim->last_poll_ns ? now : claim->last_poll_ns;

	wait_until(trip, begin + trip_lookup_timeout_ns(trip));
	fill(claim);
	trip_hold(trip);
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
	struct trip *trip;

	if (trip_list_due(&lane->waiting, now) != NULL) {
		lane_catch_up(lane);
	}
	while ((trip = trip_list_due(&lane->waiting, now)) != NULL) {
		TAILQ_REMOVE(&lane->waiting, trip, deadline);
		trip_drop_unwanted(trip);
		if (trip->claim->due > 0 || trip_unanswered(trip) == 0) {
			run(trip);
		} else {
			ask(trip);
		}
	}
	trip_list_arm(&lane->waiting, lane->wait_timer);
}

void
engine_lane_hurry(struct engine_lane *lane)
{
	struct trip *trip;

	lane->hurried = true;
	while ((trip = TAILQ_FIRST(&lane->waiting)) != NULL) {
		TAILQ_REMOVE(&lane->waiting, trip, deadline);
		trip_drop_unwanted(trip);
		run(trip);
	}
}

/* --- Whether to --- */

/* A lease costs another look-up, and it is of use only where the answer goes into the store. */
static bool
is_worthwhile(const struct trip *trip)
{
	const struct response_cache *cache = trip->lane->cache;
	uint64_t run = atomic_load_explicit(&trip->model->run_cost_ns, memory_order_relaxed);
	uint64_t lookup = atomic_load_explicit(&trip->model->lookup_cost_ns, memory_order_relaxed);
	bool wants_own = trip->directives.has_max_age && trip->directives.max_age_s == 0;

	return cache->settings.coalesce == COALESCE_SHARED && cache->ops->lease != NULL && trip->mode.looks &&
	       trip->mode.runs && trip->mode.stores && !trip->lookup.failed && !trip->lane->hurried && !wants_own &&
	       run / 2 > lookup && !atomic_load_explicit(&trip->model->too_large, memory_order_relaxed) &&
	       trip_unanswered(trip) > 0;
}

static bool
make_claim(struct trip *trip)
{
	struct trip_claim *claim = arena_get(&trip->arena, sizeof(*claim));

	if (claim == NULL) {
		return false;
	}
	claim->trip = trip;
	claim->keys = arena_array(&trip->arena, trip->count, sizeof(*claim->keys));
	claim->values = arena_array(&trip->arena, trip->count, sizeof(struct blob *));
	claim->asked = arena_array(&trip->arena, trip->count, sizeof(*claim->asked));
	claim->flights = arena_array(&trip->arena, trip->count, sizeof(*claim->flights));
	if (claim->keys == NULL || claim->values == NULL || claim->asked == NULL || claim->flights == NULL) {
		return false;
	}
	for (size_t i = 0; i < trip->count; i++) {
		claim->flights[i].claim = claim;
		claim->flights[i].flight = &trip->flights[i];
	}
	trip->claim = claim;
	return true;
}

void
trip_claim(struct trip *trip)
{
	if (!is_worthwhile(trip) || !make_claim(trip)) {
		trip_run(trip);
		return;
	}
	trip->state = TRIP_WAITING;
	trip_hold(trip); /* until it runs */
	ask(trip);
}
