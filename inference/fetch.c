#include "base/clock.h"
#include "base/memory.h"
#include "inference/engine_internal.h"

#include <stdlib.h>

#define ARENA_MAX ((size_t)1 << 30)
#define NS_PER_MS UINT64_C(1000000)

/* --- Life cycle --- */

struct trip *
trip_new(struct engine_lane *lane, struct inference_request *leader, struct trip_mode mode, size_t count)
{
	size_t size = sizeof(struct trip) + count * sizeof(struct flight);
	struct trip *trip = memory_room(size + sizeof(struct error));

	memset(trip, 0, size); /* not the error, which is larger than all the rest */
	trip->job.error = (struct error *)((char *)trip + size);
	trip->lane = lane;
	trip->model = model_ref(leader->model);
	trip->executor = lane_executor(lane, leader->model);
	trip->mode = mode;
	trip->leader = leader;
	trip->directives = leader->directives;
	trip->job.by_row = leader->by_row && !mode.audits;
	trip->job.splits_rows = leader->splits_rows;
	atomic_init(&trip->level, leader->level);
	trip->delay_ns = leader->delay_ns;
	arena_init_small(&trip->arena, ARENA_MAX);
	return trip;
}

static void
trip_free(struct trip *trip)
{
	for (size_t i = 0; i < trip->count; i++) {
		blob_unref(trip->flights[i].entry);
		blob_unref(trip->flights[i].stale);
	}
	if (trip->executor->release != NULL) {
		trip->executor->release(&trip->job);
	}
	explicit_bzero(&trip->entry_key, sizeof(trip->entry_key));
	arena_fini(&trip->arena);
	blob_unref(trip->inputs);
	model_unref(trip->model);
	free(trip);
}

struct flight_table *
trip_table(const struct trip *trip)
{
	return trip->mode.shared || trip->mode.background ? &trip->lane->engine->flights : NULL;
}

void
trip_hold(struct trip *trip)
{
	(void)atomic_fetch_add(&trip->held, 1);
}

void
trip_let_go(struct flight_claim *one)
{
	struct engine_lane *lane = one->claim->trip->lane;

	if (one->owned) {
		one->owned = false;
		if (clock_now_ns() < one->ends_ns) { /* later it may be another's */
			lane->cache->ops->release(lane->store, one->lease.key);
		}
	}
}

void
trip_claim_end(struct trip *trip)
{
	for (size_t i = 0; trip->claim != NULL && i < trip->count; i++) {
		trip_let_go(&trip->claim->flights[i]);
	}
}

void
trip_release(struct trip *trip)
{
	struct engine_lane *lane = trip->lane;

	if (atomic_fetch_sub(&trip->held, 1) == 1) {
		trip_claim_end(trip);
		trip_free(trip);
		lane_less_underway(lane);
	}
}

void
trip_add_flight(struct trip *trip, const struct slice *slice)
{
	struct flight *flight = &trip->flights[trip->count++];

	flight->trip = trip;
	flight->key = slice->key;
	flight->key.scope = bytes_text(trip->model->scope);
	flight->digest = slice->key.digest;
	flight->steering = slice->request->steering;
	flight->rows = slice->rows;
	flight->data = slice->data;
	TAILQ_INIT(&flight->waiting);
}

/* --- Lists by deadline --- */

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
		loop_timer_set(timer, first->deadline_ns <= now ? 0 : (first->deadline_ns - now) / NS_PER_MS + 1);
	}
}

struct trip *
trip_list_due(const struct trip_list *list, uint64_t now_ns)
{
	struct trip *first = TAILQ_FIRST(list);

	return first != NULL && first->deadline_ns <= now_ns ? first : NULL;
}
