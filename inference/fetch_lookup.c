/* The first half of a trip: the store is asked, for as long as a look-up may take. */
#include "base/clock.h"
#include "base/log.h"
#include "inference/engine_internal.h"
#include "inference/entry.h"

#include <inttypes.h>

#define MILLISECOND UINT64_C(1000000)

static void
stop_waiting(struct trip *trip)
{
	TAILQ_REMOVE(&trip->lane->looking, trip, deadline);
	if (trip->leader != NULL) {
		trip->leader->lookup_ns = clock_now_ns() - trip->leader->keyed_ns;
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
