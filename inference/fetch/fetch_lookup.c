/* The first half of a fetch: asks the store, within the look-up timeout. */
#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "inference/fetch/account.h"
#include "inference/fetch/fetch.h"
#include "inference/cache/entry.h"

#include <inttypes.h>

static void
stop_looking(struct fetch *fetch)
{
	TAILQ_REMOVE(&fetch->lane->looking, fetch, deadline);
	if (fetch->leader != NULL) {
		fetch->leader->state->lookup_ns = clock_now_ns() - fetch->leader->state->keyed_ns;
	}
}

/* A failed look-up does not show that the store is quick. */
static void
note_lateness(const struct fetch *fetch, bool failed)
{
	if (!failed) {
		(void)lateness_note(&fetch->lane->engine->lateness, false, clock_now_ns());
	}
}

static void
tell_of_lateness(const struct fetch *fetch)
{
	log_warning("cache '%s': no look-up is in time: the store is farther away than lookup_timeout (%" PRIu64
		    " ms), and the model runs meanwhile; raise lookup_timeout above the time that an answer takes",
		    fetch->lane->cache->ops->name, fetch_lookup_timeout_ns(fetch) / NS_PER_MS);
}

static void
on_lookup(struct cache_lookup *lookup)
{
	struct fetch *fetch = container_of(lookup, struct fetch, lookup);

	account_lookup_cost(fetch->model, clock_now_ns() - fetch->lookup_start_ns, fetch->count);
	if (fetch->state == FETCH_LOOKING) {
		note_lateness(fetch, lookup->failed);
		stop_looking(fetch);
		fetch_take_values(fetch);
		fetch_drop_unwanted(fetch);
		fetch_claim(fetch); /* without leases: fetch_run */
	} else {
		fetch_take_values(fetch); /* late, but perhaps before the model */
		if (fetch->job_pending && fetch_unanswered(fetch) == 0) {
			fetch_withdraw(fetch);
		}
	}
	fetch_release(fetch);
}

/* --- Deadlines --- */

void
lane_on_deadline(void *argument)
{
	struct engine_lane *lane = argument;
	uint64_t now = clock_now_ns();
	struct fetch *fetch;

	if (fetch_list_due(&lane->looking, now) != NULL) {
		lane_catch_up(lane);
	}
	while ((fetch = fetch_list_due(&lane->looking, now)) != NULL) {
		fetch_hold(fetch);
		if (lateness_note(&lane->engine->lateness, true, now)) {
			tell_of_lateness(fetch);
		}
		stop_looking(fetch);
		fetch_drop_unwanted(fetch);
		fetch_run(fetch);
		fetch_release(fetch);
	}
	fetch_list_arm(&lane->looking, lane->deadline_timer);
}

/* --- Asking --- */

static bool
fill_lookup(struct fetch *fetch)
{
	struct cache_key *keys = arena_array(&fetch->arena, fetch->count, sizeof(*keys));
	struct blob **values = arena_array(&fetch->arena, fetch->count, sizeof(struct blob *));

	for (size_t i = 0; i < fetch->count && keys != NULL; i++) {
		keys[i] = fetch->flights[i].key;
	}
	/* What the store tells at once was asked for when the request came. */
	fetch->lookup = (struct cache_lookup){.keys = keys,
					      .count = fetch->count,
					      .values = values,
					      .now_ns = fetch->lookup_start_ns,
					      .counted = cache_tells_at_once(fetch->lane->cache->ops) ? CACHE_COUNT_HITS
												      : CACHE_COUNT_ALL,
					      .done = on_lookup};
	return keys != NULL && values != NULL;
}

void
fetch_look_up(struct fetch *fetch)
{
	struct engine_lane *lane = fetch->lane;

	fetch->lookup_start_ns = clock_now_ns();
	if (!fill_lookup(fetch)) {
		fetch_run(fetch);
		return;
	}
	if (lane->cache->ops->lookup(lane->store, &fetch->lookup)) {
		if (fetch->leader != NULL) {
			fetch->leader->state->lookup_ns = clock_now_ns() - fetch->leader->state->keyed_ns;
		}
		fetch_take_values(fetch);
		fetch_claim(fetch);
		return;
	}
	fetch_hold(fetch);
	fetch_list_add(&lane->looking, fetch, fetch->lookup_start_ns + fetch_lookup_timeout_ns(fetch));
	if (TAILQ_FIRST(&lane->looking) == fetch) {
		fetch_list_arm(&lane->looking, lane->deadline_timer);
	}
}
