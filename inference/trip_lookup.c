/* The first half of a trip: the store is asked, for as long as a look-up may take. */
#include "base/clock.h"
#include "base/log.h"
#include "inference/engine_internal.h"
#include "inference/entry.h"

#include <inttypes.h>

#define MILLISECOND UINT64_C(1000000)

/* Of lookup_timeout=auto. */
#define TIMEOUT_UNMEASURED_NS (5 * MILLISECOND)
#define TIMEOUT_MIN_NS MILLISECOND
#define TIMEOUT_MAX_NS (100 * MILLISECOND)

static void
stop_waiting(struct trip *trip)
{
	TAILQ_REMOVE(&trip->lane->looking, trip, deadline);
	if (trip->leader != NULL) {
		trip->leader->lookup_ns = clock_now_ns() - trip->leader->keyed_ns;
	}
}

/* Tells the store that a value of its is whole, if it is still fresh. */
static void
confirm(struct trip *trip, size_t index, const struct freshness_entry *freshness, uint64_t now_ms)
{
	const struct cache_ops *ops = trip->lane->cache->ops;

	if (ops->confirm != NULL && freshness_is_fresh(freshness, now_ms)) {
		ops->confirm(trip->lane->store, &trip->lookup, index,
			     freshness_left_ms(freshness, freshness->lifetime_ms, now_ms));
	}
}

/* What the store found for one flight: true where that is the answer. */
static bool
judge(struct flight *flight, struct blob **value, struct slice **revalidate)
{
	struct trip *trip = flight->trip;
	struct freshness_entry freshness;
	uint64_t now;
	bool on_error;

	if (*value != NULL && !value_usable(trip->lane, trip->model, &flight->key, *value, flight->damaged)) {
		flight->damaged = true;
		blob_unref(*value);
		*value = NULL;
	}
	if (*value == NULL) {
		return false;
	}
	now = clock_wall_ms();
	freshness = entry_freshness(*value);
	if (value_purged(trip->lane, trip->model, &freshness, now)) {
		blob_unref(*value);
		*value = NULL;
		return false;
	}
	lane_note_date(trip->lane, &freshness, now);
	confirm(trip, (size_t)(flight - trip->flights), &freshness, now);
	switch (freshness_judge(&trip->model->freshness, &trip->directives, &freshness, now, lane_chance(trip->lane),
				&on_error)) {
	case FRESHNESS_REVALIDATE:
		if (trip->leader != NULL && lane_renews(trip->lane, &trip->directives, &flight->key, &freshness, now)) {
			*revalidate = TAILQ_FIRST(&flight->waiting);
		}
		return true;
	case FRESHNESS_USE:
		return true;
	case FRESHNESS_TOO_OLD:
		flight->unwanted = true;
		break;
	case FRESHNESS_STALE:
		flight->expired = true;
		break;
	}
	if (on_error) {
		blob_unref(flight->stale); /* of an earlier look-up */
		flight->stale = *value;
	} else {
		blob_unref(*value);
	}
	*value = NULL;
	return false;
}

void
trip_take_values(struct trip *trip)
{
	struct blob **values = trip->lookup.values;
	struct slice **renewed = NULL;
	size_t renewed_count = 0;

	for (size_t i = 0; i < trip->count; i++) {
		struct flight *flight = &trip->flights[i];
		struct slice *revalidate = NULL;

		flight->unknown = trip->lookup.failed && values[i] == NULL;
		if (flight->answered) {
			blob_unref(values[i]);
			values[i] = NULL;
		} else if (judge(flight, &values[i], &revalidate) && revalidate != NULL) {
			if (renewed == NULL) {
				renewed = arena_array(&trip->arena, trip->count, sizeof(*renewed));
			}
			if (renewed != NULL) {
				renewed[renewed_count++] = revalidate;
			}
		}
	}
	/* Before the answers: the request's tensors go with its last one. */
	if (renewed_count > 0) {
		trip_start_refresh(trip->lane, renewed, renewed_count);
	}
	for (size_t i = 0; i < trip->count; i++) {
		if (values[i] != NULL) {
			trip_answer(&trip->flights[i], &(struct outcome){.entry = values[i], .hit = true});
			blob_unref(values[i]);
			values[i] = NULL;
		}
	}
}

void
trip_drop_unwanted(struct trip *trip)
{
	for (size_t i = 0; i < trip->count && !trip->mode.background; i++) {
		struct flight *flight = &trip->flights[i];
		struct flight_shard *shard;

		if (flight->answered) {
			continue;
		}
		shard = flight_shard_lock(trip_table(trip), &flight->digest);
		if (TAILQ_EMPTY(&flight->waiting)) {
			flight->answered = true;
			flight_leave(shard, flight);
		}
		flight_shard_unlock(shard);
	}
}

/* A failure tells nothing of how quick the store is. */
static void
note_lateness(const struct trip *trip, bool failed)
{
	if (!failed) {
		(void)lateness_note(&trip->lane->engine->lateness, false, clock_now_ns());
	}
}

static void
tell_of_lateness(const struct trip *trip)
{
	log_warning("cache '%s': no look-up is in time: the store is farther away than lookup_timeout (%" PRIu64
		    " ms), and the model runs meanwhile; raise lookup_timeout above the time that an answer takes",
		    trip->lane->cache->ops->name, trip_lookup_timeout_ns(trip) / MILLISECOND);
}

static void
on_lookup(struct cache_lookup *lookup)
{
	struct trip *trip = (struct trip *)((char *)lookup - offsetof(struct trip, lookup));

	trip->lookup_pending = false;
	account_lookup_cost(trip->model, clock_now_ns() - trip->lookup_start_ns, trip->count);
	if (trip->state == TRIP_LOOKING) {
		note_lateness(trip, lookup->failed);
		stop_waiting(trip);
		trip_take_values(trip);
		trip_drop_unwanted(trip);
		trip_claim(trip);
	} else {
		trip_take_values(trip); /* late, but perhaps before the model */
		if (trip->job_pending && trip_unanswered(trip) == 0) {
			trip_withdraw(trip);
		}
	}
	trip_release(trip);
}

/* --- Deadlines --- */

uint64_t
trip_run_cost_ns(const struct trip *trip)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < trip->count; i++) {
		if (!trip->flights[i].answered) {
			rows += trip->flights[i].rows > 0 ? trip->flights[i].rows : 1;
		}
	}
	return rows * atomic_load_explicit(&trip->model->run_cost_ns, memory_order_relaxed);
}

uint64_t
trip_lookup_timeout_ns(const struct trip *trip)
{
	int64_t given_ms = trip->lane->cache->settings.lookup_timeout_ms;
	uint64_t timeout;

	if (given_ms > 0) {
		return (uint64_t)given_ms * MILLISECOND;
	}
	timeout = trip_run_cost_ns(trip) / 4;
	if (timeout == 0) {
		return TIMEOUT_UNMEASURED_NS;
	}
	return timeout < TIMEOUT_MIN_NS ? TIMEOUT_MIN_NS : timeout > TIMEOUT_MAX_NS ? TIMEOUT_MAX_NS : timeout;
}

void
trip_list_add(struct trip_list *list, struct trip *trip, uint64_t deadline_ns)
{
	struct trip *before = TAILQ_LAST(list, trip_list);

	trip->deadline_ns = deadline_ns;
	while (before != NULL && before->deadline_ns > deadline_ns) { /* rarely: most may wait equally long */
		before = TAILQ_PREV(before, trip_list, deadline);
	}
	if (before == NULL) {
		TAILQ_INSERT_HEAD(list, trip, deadline);
	} else {
		TAILQ_INSERT_AFTER(list, before, trip, deadline);
	}
}

void
trip_list_arm(const struct trip_list *list, struct loop_timer *timer)
{
	const struct trip *first = TAILQ_FIRST(list);
	uint64_t now = clock_now_ns();

	if (first != NULL) {
		loop_timer_set(timer, first->deadline_ns <= now ? 0 : (first->deadline_ns - now) / MILLISECOND + 1);
	}
}

struct trip *
trip_list_due(const struct trip_list *list, uint64_t now_ns)
{
	struct trip *first = TAILQ_FIRST(list);

	return first != NULL && first->deadline_ns <= now_ns ? first : NULL;
}

void
lane_catch_up(struct engine_lane *lane)
{
	if (lane->cache->ops->catch_up != NULL) {
		lane->cache->ops->catch_up(lane->store);
	}
}

void
lane_on_deadline(void *argument)
{
	struct engine_lane *lane = argument;
	uint64_t now = clock_now_ns();
	struct trip *trip;

	if (trip_list_due(&lane->looking, now) != NULL) {
		lane_catch_up(lane);
	}
	while ((trip = trip_list_due(&lane->looking, now)) != NULL) {
		trip_hold(trip);
		if (lateness_note(&lane->engine->lateness, true, now)) {
			tell_of_lateness(trip);
		}
		stop_waiting(trip);
		trip_drop_unwanted(trip);
		trip_run(trip);
		trip_release(trip);
	}
	trip_list_arm(&lane->looking, lane->deadline_timer);
}

/* --- Asking --- */

static bool
fill_lookup(struct trip *trip)
{
	struct cache_key *keys = arena_array(&trip->arena, trip->count, sizeof(*keys));
	struct blob **values = arena_array(&trip->arena, trip->count, sizeof(struct blob *));

	for (size_t i = 0; i < trip->count && keys != NULL; i++) {
		keys[i] = trip->flights[i].key;
	}
	/* What is told at once has been, when the request came. */
	trip->lookup = (struct cache_lookup){.keys = keys,
					     .count = trip->count,
					     .values = values,
					     .now_ns = trip->lookup_start_ns,
					     .repeated = cache_tells_at_once(trip->lane->cache->ops),
					     .done = on_lookup};
	return keys != NULL && values != NULL;
}

void
trip_look_up(struct trip *trip)
{
	struct engine_lane *lane = trip->lane;

	trip->lookup_start_ns = clock_now_ns();
	if (!fill_lookup(trip)) {
		trip_run(trip);
		return;
	}
	if (lane->cache->ops->lookup(lane->store, &trip->lookup)) {
		if (trip->leader != NULL) {
			trip->leader->lookup_ns = clock_now_ns() - trip->leader->keyed_ns;
		}
		trip_take_values(trip);
		trip_claim(trip);
		return;
	}
	trip_hold(trip);
	trip->lookup_pending = true;
	trip_list_add(&lane->looking, trip, trip->lookup_start_ns + trip_lookup_timeout_ns(trip));
	if (TAILQ_FIRST(&lane->looking) == trip) {
		trip_list_arm(&lane->looking, lane->deadline_timer);
	}
}
