#include "inference/fetch/fetch.h"

/* --- Joining --- */

/* Lowers *at; joiners of different flights of one fetch race here. */
static bool
lower(atomic_size_t *at, size_t value)
{
	size_t old = atomic_load(at);

	while (value < old) {
		if (atomic_compare_exchange_weak(at, &old, value)) {
			return true;
		}
	}
	return false;
}

/* With the flight's shard locked, if its fetch has a table. */
static void
attach(struct flight *flight, struct slice *slice)
{
	struct fetch *fetch = flight->fetch;

	TAILQ_INSERT_TAIL(&flight->waiting, slice, waiting);
	slice->flight = flight;
	slice->shared = fetch->mode.shared;
	atomic_fetch_add(&fetch->wanted, 1);
	if (slice->request != fetch->first) {
		atomic_store_explicit(&fetch->is_joined, true, memory_order_relaxed);
	}
	if (!slice->leads && lower(&fetch->level, slice->request->state->level) && fetch->executor->promote != NULL) {
		fetch->executor->promote(fetch->model, &fetch->job, slice->request->state->level);
	}
}

/* Has a flight, perhaps with this slice's answer, left since the store was asked? With the shard locked. */
static bool
has_completed(const struct flight_shard *shard, const struct slice *slice)
{
	return shard != NULL && slice->completions != atomic_load_explicit(&shard->completions, memory_order_relaxed);
}

/* A flight from before a purge has an answer from before it, too: others lead a new one. */
static struct flight *
find_to_join(struct flight_shard *shard, const struct slice *slice)
{
	const struct request_state *state = slice->request->state;
	struct flight *flight = flight_find(shard, &slice->key.digest, &state->queue_class);

	return flight != NULL && lane_purged_since(state->lane, slice->request->model, flight->fetch->begun_ns)
		       ? NULL
		       : flight;
}

/* Returns true if the slice has its answer now. */
static bool
join_or_lead(struct fetch *fetch, struct slice *slice)
{
	struct flight_shard *shard = flight_shard_lock(fetch_table(fetch), &slice->key.digest);
	struct flight *other = shard == NULL ? NULL : find_to_join(shard, slice);
	bool answered = other != NULL && other->answered;

	slice->leads = other == NULL;
	if (other == NULL) {
		fetch->asks_again = fetch->asks_again || has_completed(shard, slice);
		fetch_add_flight(fetch, slice);
		attach(&fetch->flights[fetch->count - 1], slice);
		if (shard != NULL) {
			flight_enter(shard, &fetch->flights[fetch->count - 1]);
		}
	} else if (answered) {
		slice->entry = blob_ref(other->entry);
		slice->result = SLICE_JOINED;
	} else {
		attach(other, slice);
	}
	flight_shard_unlock(shard);
	return answered;
}

void
fetch_start(struct engine_lane *lane, struct slice *const *slices, size_t count, struct fetch_mode mode)
{
	struct fetch *fetch = fetch_new(lane, slices[0]->request, mode, count);

	lane->underway++;
	fetch_hold(fetch);
	for (size_t i = 0; i < count; i++) {
		if (join_or_lead(fetch, slices[i])) {
			slices[i]->done(slices[i]);
		}
	}
	if (fetch->count == 0) {
		fetch->state = FETCH_SETTLED;
	} else if (mode.looks && (fetch->asks_again || !lane->cache->ops->synchronous)) {
		fetch_look_up(fetch);
	} else {
		fetch_run(fetch);
	}
	fetch_release(fetch);
}

/* --- Leaving --- */

static struct flight_shard *
lock_slice(struct slice *slice)
{
	return flight_shard_lock(slice->shared ? &slice->request->state->lane->engine->flights : NULL,
				 &slice->key.digest);
}

/* The request's slices, and its audit if there is one. */
static size_t
part_count(const struct inference_request *request)
{
	return request->state->slice_count + (request->state->audit != NULL);
}

static struct slice *
part_at(struct inference_request *request, size_t index)
{
	struct request_state *state = request->state;

	return index < state->slice_count ? &state->slices[index] : state->audit;
}

bool
fetch_request_waits(struct inference_request *request)
{
	bool waits = false;

	for (size_t i = 0; i < part_count(request); i++) {
		struct slice *slice = part_at(request, i);
		struct flight_shard *shard = lock_slice(slice);

		waits = waits ||
			(!slice->resolved && slice->flight != NULL && !atomic_load(&slice->flight->fetch->job.started));
		flight_shard_unlock(shard);
	}
	return waits;
}

/* Keeps the tensors of a leader that leaves: others may wait for its flights. */
static void
hand_over(const struct slice *slice)
{
	struct fetch *fetch = slice->flight->fetch;

	if (fetch->leader == slice->request) {
		(void)fetch_keep_inputs(fetch); /* if memory runs out, the run fails later */
		fetch->leader = NULL;
	}
}

/* Returns false if the answer is under way from another loop, which owns the slice until it arrives. */
static bool
leave(struct slice *slice)
{
	struct flight_shard *shard = lock_slice(slice);
	struct flight *flight = slice->flight;

	if (flight != NULL) {
		TAILQ_REMOVE(&flight->waiting, slice, waiting);
		slice->flight = NULL;
		if (atomic_fetch_sub(&flight->fetch->wanted, 1) == 1) {
			fetch_withdraw(flight->fetch);
		}
	}
	flight_shard_unlock(shard);
	return flight != NULL;
}

void
fetch_leave(struct inference_request *request, struct blob *failure)
{
	for (size_t i = 0; i < part_count(request); i++) {
		struct slice *slice = part_at(request, i);

		if (!slice->resolved && slice->leads && slice->flight != NULL) {
			hand_over(slice);
		}
	}
	for (size_t i = 0; i < part_count(request); i++) {
		struct slice *slice = part_at(request, i);

		if (!slice->resolved && leave(slice)) {
			slice->failure = blob_ref(failure);
			slice->result = slice->keyed ? (slice->leads ? SLICE_MISS : SLICE_JOINED) : slice->result;
			slice->done(slice);
		}
	}
}
