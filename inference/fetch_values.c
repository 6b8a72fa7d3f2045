/* What the store has said of a fetch's flights, and how long it may take to say it. */
#include "base/clock.h"
#include "inference/engine_internal.h"
#include "inference/entry.h"

#define MILLISECOND UINT64_C(1000000)

/* Of lookup_timeout=auto. */
#define TIMEOUT_UNMEASURED_NS (5 * MILLISECOND)
#define TIMEOUT_MIN_NS MILLISECOND
#define TIMEOUT_MAX_NS (100 * MILLISECOND)

/* --- Values --- */

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
		flight->unwanted = trip->directives.has_max_age;
		flight->expired = !flight->unwanted;
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

/* --- Time --- */

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
