#include "base/clock.h"
#include "base/memory.h"
#include "inference/fetch/fetch.h"

#include <stdlib.h>

#define ARENA_MAX ((size_t)1 << 30)

/* --- Life cycle --- */

struct fetch *
fetch_new(struct engine_lane *lane, struct inference_request *leader, struct fetch_mode mode, size_t count)
{
	size_t size = sizeof(struct fetch) + count * sizeof(struct flight);
	struct fetch *fetch = memory_new(size);

	fetch->lane = lane;
	fetch->begun_ns = clock_now_ns();
	fetch->model = model_ref(leader->model);
	fetch->executor = lane_executor(lane, leader->model);
	fetch->mode = mode;
	fetch->leader = leader;
	fetch->first = leader;
	fetch->directives = leader->directives;
	fetch->job.by_row = leader->state->by_row && !mode.audits;
	fetch->job.splits_rows = leader->splits_rows;
	atomic_init(&fetch->level, leader->state->level);
	fetch->delay_ns = leader->state->delay_ns;
	arena_init_small(&fetch->arena, ARENA_MAX);
	return fetch;
}

static void
fetch_free(struct fetch *fetch)
{
	for (size_t i = 0; i < fetch->count; i++) {
		blob_unref(fetch->flights[i].entry);
		blob_unref(fetch->flights[i].stale);
	}
	if (fetch->executor->release != NULL) {
		fetch->executor->release(&fetch->job);
	}
	explicit_bzero(&fetch->entry_key, sizeof(fetch->entry_key));
	arena_fini(&fetch->arena);
	blob_unref(fetch->inputs);
	model_unref(fetch->model);
	free(fetch->job.error);
	free(fetch);
}

struct flight_table *
fetch_table(const struct fetch *fetch)
{
	return fetch->mode.shared || fetch->mode.background ? &fetch->lane->engine->flights : NULL;
}

void
fetch_hold(struct fetch *fetch)
{
	(void)atomic_fetch_add(&fetch->held, 1);
}

void
fetch_let_go(struct flight_claim *one)
{
	struct engine_lane *lane = one->claim->fetch->lane;

	if (one->owned) {
		one->owned = false;
		if (clock_now_ns() < one->ends_ns) { /* later, another server may hold the lease */
			lane->cache->ops->release(lane->store, one->lease.key);
		}
	}
}

static void
claim_end(struct fetch *fetch)
{
	for (size_t i = 0; fetch->claim != NULL && i < fetch->count; i++) {
		fetch_let_go(&fetch->claim->flights[i]);
	}
}

void
fetch_release(struct fetch *fetch)
{
	struct engine_lane *lane = fetch->lane;

	if (atomic_fetch_sub(&fetch->held, 1) == 1) {
		claim_end(fetch);
		fetch_free(fetch);
		lane_less_underway(lane);
	}
}

void
fetch_add_flight(struct fetch *fetch, const struct slice *slice)
{
	struct flight *flight = &fetch->flights[fetch->count++];

	flight->fetch = fetch;
	flight->key = slice->key;
	flight->key.scope = bytes_text(fetch->model->scope);
	flight->digest = slice->key.digest;
	flight->queue_class = slice->request->state->queue_class;
	flight->rows = slice->rows;
	flight->data = slice->data;
	TAILQ_INIT(&flight->waiting);
}

/* --- Lists by deadline --- */

void
fetch_list_add(struct fetch_list *list, struct fetch *fetch, uint64_t deadline_ns)
{
	struct fetch *before = TAILQ_LAST(list, fetch_list);

	fetch->deadline_ns = deadline_ns;
	while (before != NULL && before->deadline_ns > deadline_ns) { /* rare: most fetches wait equally long */
		before = TAILQ_PREV(before, fetch_list, deadline);
	}
	if (before == NULL) {
		TAILQ_INSERT_HEAD(list, fetch, deadline);
	} else {
		TAILQ_INSERT_AFTER(list, before, fetch, deadline);
	}
}

void
fetch_list_arm(const struct fetch_list *list, struct loop_timer *timer)
{
	const struct fetch *first = TAILQ_FIRST(list);
	uint64_t now = clock_now_ns();

	if (first != NULL) {
		loop_timer_set(timer, first->deadline_ns <= now ? 0 : (first->deadline_ns - now) / NS_PER_MS + 1);
	}
}

struct fetch *
fetch_list_due(const struct fetch_list *list, uint64_t now_ns)
{
	struct fetch *first = TAILQ_FIRST(list);

	return first != NULL && first->deadline_ns <= now_ns ? first : NULL;
}
