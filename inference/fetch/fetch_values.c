/* The values that the store returned for a fetch's flights, and how long it may take. */
#include "base/clock.h"
#include "inference/fetch/fetch.h"
#include "inference/cache/entry.h"

/* Bounds of lookup_timeout=auto. */
#define TIMEOUT_UNMEASURED_NS (5 * NS_PER_MS)
#define TIMEOUT_MIN_NS NS_PER_MS
#define TIMEOUT_MAX_NS (100 * NS_PER_MS)

/* --- Values --- */

/* Confirms to the store that its value is good, if it is still fresh. */
static void
confirm(struct fetch *fetch, size_t index, const struct freshness_entry *freshness, uint64_t now_ms)
{
	const struct cache_ops *ops = fetch->lane->cache->ops;

	if (ops->confirm != NULL && freshness_is_fresh(freshness, now_ms)) {
		ops->confirm(fetch->lane->store, &fetch->lookup, index,
			     freshness_left_ms(freshness, freshness->lifetime_ms, now_ms), freshness->cost_us);
	}
}

/* Judges the store's value for one flight. Returns true if it is the answer; else drops it. */
static bool
judge(struct flight *flight, struct blob **value, struct slice **revalidate)
{
	struct fetch *fetch = flight->fetch;
	struct freshness_entry freshness;
	uint64_t now;
	bool on_error;

	if (*value != NULL && !value_usable(fetch->lane, fetch->model, &flight->key, *value, flight->damaged)) {
		flight->damaged = true;
		blob_unref(*value);
		*value = NULL;
	}
	if (*value == NULL) {
		return false;
	}
	now = clock_wall_ms();
	freshness = entry_freshness(*value);
	if (value_purged(fetch->lane, fetch->model, &freshness, now)) {
		blob_unref(*value);
		*value = NULL;
		return false;
	}
	lane_note_date(fetch->lane, &freshness, now);
	confirm(fetch, (size_t)(flight - fetch->flights), &freshness, now);
	switch (freshness_judge(&fetch->model->freshness, &fetch->directives, &freshness, now, lane_chance(fetch->lane),
				&on_error)) {
	case FRESHNESS_REVALIDATE:
		if (fetch->leader != NULL &&
		    lane_renews(fetch->lane, &fetch->directives, &flight->key, &freshness, now)) {
			*revalidate = TAILQ_FIRST(&flight->waiting);
		}
		return true;
	case FRESHNESS_USE:
		return true;
	case FRESHNESS_TOO_OLD:
		flight->unwanted = fetch->directives.has_max_age;
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
fetch_take_values(struct fetch *fetch)
{
	struct blob **values = fetch->lookup.values;
	struct slice **renewed = NULL;
	size_t renewed_count = 0;

	for (size_t i = 0; i < fetch->count; i++) {
		struct flight *flight = &fetch->flights[i];
		struct slice *revalidate = NULL;

		flight->unknown = fetch->lookup.failed && values[i] == NULL;
		if (flight->answered) {
			blob_unref(values[i]);
			values[i] = NULL;
		} else if (judge(flight, &values[i], &revalidate) && revalidate != NULL) {
			if (renewed == NULL) {
				renewed = arena_array(&fetch->arena, fetch->count, sizeof(*renewed));
			}
			if (renewed != NULL) {
				renewed[renewed_count++] = revalidate;
			}
		}
	}
	/* Before the answers: the last one ends the life of the request's tensors. */
	if (renewed_count > 0) {
		fetch_start_refresh(fetch->lane, renewed, renewed_count);
	}
	for (size_t i = 0; i < fetch->count; i++) {
		if (values[i] != NULL) {
			fetch_answer(&fetch->flights[i], &(struct outcome){.entry = values[i], .hit = true});
			blob_unref(values[i]);
			values[i] = NULL;
		}
	}
}

void
fetch_drop_unwanted(struct fetch *fetch)
{
	for (size_t i = 0; i < fetch->count && !fetch->mode.background; i++) {
		struct flight *flight = &fetch->flights[i];
		struct flight_shard *shard;

		if (flight->answered) {
			continue;
		}
		shard = flight_shard_lock(fetch_table(fetch), &flight->digest);
		if (TAILQ_EMPTY(&flight->waiting)) {
			flight->answered = true;
			flight_leave(shard, flight);
		}
		flight_shard_unlock(shard);
	}
}

/* --- Time --- */

uint64_t
fetch_run_cost_ns(const struct fetch *fetch)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < fetch->count; i++) {
		if (!fetch->flights[i].answered) {
			rows += fetch->flights[i].rows > 0 ? fetch->flights[i].rows : 1;
		}
	}
	return rows * atomic_load_explicit(&fetch->model->run_cost_ns, memory_order_relaxed);
}

uint64_t
fetch_lookup_timeout_ns(const struct fetch *fetch)
{
	int64_t given_ms = fetch->lane->cache->settings.lookup_timeout_ms;
	uint64_t timeout;

	if (given_ms > 0) {
		return (uint64_t)given_ms * NS_PER_MS;
	}
	timeout = fetch_run_cost_ns(fetch) / 4;
	if (timeout == 0) {
		return TIMEOUT_UNMEASURED_NS;
	}
	return timeout < TIMEOUT_MIN_NS ? TIMEOUT_MIN_NS : timeout > TIMEOUT_MAX_NS ? TIMEOUT_MAX_NS : timeout;
}
