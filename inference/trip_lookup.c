/* The first half of a trip: the store is asked, for as long as a look-up may take. */
#include "base/clock.h"
#include "inference/engine_internal.h"
#include "inference/entry.h"

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

	if (*value != NULL && !value_usable(trip->lane, trip->model, &flight->key, *value)) {
		blob_unref(*value);
		*value = NULL;
	}
	if (*value == NULL) {
		return false;
	}
	now = clock_wall_ms();
	freshness = entry_freshness(*value);
	confirm(trip, (size_t)(flight - trip->flights), &freshness, now);
	switch (freshness_judge(&trip->model->freshness, &trip->directives, &freshness, now, lane_chance(trip->lane),
				&on_error)) {
	case FRESHNESS_REVALIDATE:
		if (trip->leader != NULL && cache_directives_renew(&trip->directives)) {
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
		flight->stale = *value;
	} else {
		blob_unref(*value);
	}
	*value = NULL;
	return false;
}

/* The values of a look-up to those who wait; the rest, if it has not run yet, runs. */
static void
take_values(struct trip *trip)
{
	struct blob **values = trip->lookup.values;
	struct slice **renewed = arena_array(&trip->arena, trip->count, sizeof(*renewed));
	size_t renewed_count = 0;

	for (size_t i = 0; i < trip->count; i++) {
		struct flight *flight = &trip->flights[i];
		struct slice *revalidate = NULL;

		flight->unknown = trip->lookup.failed && values[i] == NULL;
		if (flight->answered) {
			blob_unref(values[i]);
			values[i] = NULL;
		} else if (judge(flight, &values[i], &revalidate) && revalidate != NULL && renewed != NULL) {
			renewed[renewed_count++] = revalidate;
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
		}
	}
}

/* Flights that everybody has left while the store was asked need no run. */
static void
drop_unwanted(struct trip *trip)
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

static void
on_lookup(struct cache_lookup *lookup)
{
	struct trip *trip = (struct trip *)((char *)lookup - offsetof(struct trip, lookup));

	trip->lookup_pending = false;
	account_lookup_cost(trip->model, clock_now_ns() - trip->lookup_start_ns, trip->count);
	if (trip->state == TRIP_LOOKING) {
		stop_waiting(trip);
		take_values(trip);
		drop_unwanted(trip);
		trip_run(trip);
	} else {
		take_values(trip); /* late, but perhaps before the model */
		if (trip->job_pending && trip_unanswered(trip) == 0) {
			trip_withdraw(trip);
		}
	}
	trip_release(trip);
}

static void
arm_deadline(struct engine_lane *lane)
{
	const struct trip *first = TAILQ_FIRST(&lane->looking);
	uint64_t now = clock_now_ns();

	if (first != NULL) {
		loop_timer_set(lane->deadline_timer,
			       first->deadline_ns <= now ? 0 : (first->deadline_ns - now) / 1000000 + 1);
	}
}

void
lane_on_deadline(void *argument)
{
	struct engine_lane *lane = argument;
	uint64_t now = clock_now_ns();
	struct trip *trip;

	while ((trip = TAILQ_FIRST(&lane->looking)) != NULL && trip->deadline_ns <= now) {
		trip_hold(trip);
		stop_waiting(trip);
		drop_unwanted(trip);
		trip_run(trip);
		trip_release(trip);
	}
	arm_deadline(lane);
}

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
	bool first = TAILQ_EMPTY(&lane->looking);

	trip->lookup_start_ns = clock_now_ns();
	if (!fill_lookup(trip)) {
		trip_run(trip);
		return;
	}
	if (lane->cache->ops->lookup(lane->store, &trip->lookup)) {
		if (trip->leader != NULL) {
			trip->leader->lookup_ns = clock_now_ns() - trip->leader->keyed_ns;
		}
		take_values(trip);
		trip_run(trip);
		return;
	}
	trip_hold(trip);
	trip->lookup_pending = true;
	trip->deadline_ns = trip->lookup_start_ns + (uint64_t)lane->cache->settings.lookup_timeout_ms * 1000000;
	TAILQ_INSERT_TAIL(&lane->looking, trip, deadline);
	if (first) {
		arm_deadline(lane);
	}
}
