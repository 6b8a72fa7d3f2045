#include "base/clock.h"
#include "inference/engine_internal.h"
#include "inference/ensemble_run.h"
#include "inference/entry.h"
#include "inference/model_run.h"

#include <stdlib.h>

/* The table for those flights that others may join; see flight_shard_lock. */
static struct flight_table *
table_of(const struct trip *trip)
{
	return trip->mode.shared || trip->mode.background ? &trip->lane->engine->flights : NULL;
}

static void
hold(struct trip *trip)
{
	(void)atomic_fetch_add(&trip->held, 1);
}

static void
release(struct trip *trip)
{
	struct engine_lane *lane = trip->lane;

	if (atomic_fetch_sub(&trip->held, 1) == 1) {
		trip_free(trip);
		lane_less_underway(lane);
	}
}

/* --- Answering --- */

/* An answer, or a failure, for all who wait for a flight. */
struct outcome {
	struct blob *entry;
	struct blob *failure;
	bool hit;
	bool retry; /* the failure may be somebody else's: those who joined try again */
};

static void
on_slice_mail(struct loop_mail *mail)
{
	slice_resolve((struct slice *)mail);
}

static enum slice_result
result_of(const struct flight *flight, const struct slice *slice, const struct outcome *outcome)
{
	if (!slice->keyed) {
		return slice->result;
	}
	if (!slice->leads) {
		return SLICE_JOINED;
	}
	if (outcome->hit) {
		return SLICE_HIT;
	}
	return flight->unknown ? SLICE_ERROR : SLICE_MISS;
}

static bool
is_small_enough(const struct engine_lane *lane, const struct blob *entry)
{
	int64_t maximum = lane->cache->settings.max_value_bytes;

	return maximum == 0 || entry->length <= (uint64_t)maximum;
}

static void
give(const struct flight *flight, struct slice *slice, const struct outcome *outcome)
{
	const struct job *job = &flight->trip->job;

	slice->result = result_of(flight, slice, outcome);
	slice->entry = outcome->entry == NULL ? NULL : blob_ref(outcome->entry);
	slice->failure = outcome->failure == NULL ? NULL : blob_ref(outcome->failure);
	slice->retry = outcome->retry && !slice->leads;
	slice->expired = slice->expired || flight->expired;
	slice->unwanted = slice->unwanted || flight->unwanted;
	slice->stored = flight->trip->mode.stores && !outcome->hit && outcome->entry != NULL &&
			is_small_enough(flight->trip->lane, outcome->entry);
	if (!outcome->hit && !flight->trip->job_pending && job->ran) {
		slice->times = job->times;
		slice->times.queue_ns = job->started_ns - job->queued_ns;
	}
	/* Judged by the leader's directives, so it is the leader's only. */
	if (outcome->failure != NULL && flight->stale != NULL && slice->leads && slice->stale == NULL) {
		slice->stale = blob_ref(flight->stale);
	}
}

/* Makes the answer known to those who join from now on, and takes those who wait. */
static void
publish(struct flight *flight, const struct outcome *outcome, struct slice_list *waiting)
{
	struct flight_shard *shard = flight_shard_lock(table_of(flight->trip), &flight->digest);
	struct slice *slice;

	flight->answered = true;
	TAILQ_INIT(waiting);
	TAILQ_CONCAT(waiting, &flight->waiting, waiting);
	TAILQ_FOREACH (slice, waiting, waiting) {
		slice->flight = NULL;
		(void)atomic_fetch_sub(&flight->trip->wanted, 1);
	}
	/* A failure is for those who waited; the next asker runs again. A hit needs no storing. */
	if (outcome->failure != NULL || outcome->hit || !flight->trip->mode.stores) {
		flight_leave(flight);
	} else {
		flight->entry = blob_ref(outcome->entry);
	}
	flight_shard_unlock(shard);
}

static void
answer(struct flight *flight, const struct outcome *outcome)
{
	struct engine_lane *lane = flight->trip->lane;
	struct slice_list waiting;
	struct slice *slice;

	publish(flight, outcome, &waiting);
	while ((slice = TAILQ_FIRST(&waiting)) != NULL) {
		TAILQ_REMOVE(&waiting, slice, waiting);
		give(flight, slice, outcome);
		if (slice->request->lane == lane) {
			slice_resolve(slice);
		} else {
			slice->mail.deliver = on_slice_mail;
			loop_post(slice->request->lane->loop, &slice->mail);
		}
	}
}

static void
fail_all(struct trip *trip, enum status status, const char *text, bool retry)
{
	struct blob *failure = failure_new(status, text);

	trip->state = TRIP_OVER;
	for (size_t i = 0; i < trip->count; i++) {
		if (!trip->flights[i].answered) {
			answer(&trip->flights[i], &(struct outcome){.failure = failure, .retry = retry});
		}
	}
	blob_unref(failure);
}

/* --- Storing: write-behind, the answer is on its way already. Until it is stored, equal questions find it here. --- */

static void
on_inserted(struct cache_insert *insert)
{
	struct flight *flight = (struct flight *)((char *)insert - offsetof(struct flight, insert));
	struct flight_shard *shard = flight_shard_lock(table_of(flight->trip), &flight->digest);

	flight_leave(flight);
	flight_shard_unlock(shard);
	release(flight->trip);
}

static void
store(struct flight *flight)
{
	struct trip *trip = flight->trip;
	uint64_t start = clock_now_ns();
	bool stored;

	hold(trip);
	flight->insert = (struct cache_insert){
		.key = &flight->key, .value = flight->entry, .ttl_ms = flight->keep_ms, .done = on_inserted};
	if (!is_small_enough(trip->lane, flight->entry)) {
		account_too_large(trip->lane, trip->model);
		on_inserted(&flight->insert);
		return;
	}
	stored = trip->lane->cache->ops->insert(trip->lane->store, &flight->insert);
	account_insert(trip, flight->entry, clock_now_ns() - start);
	if (stored) {
		on_inserted(&flight->insert);
	}
}

/* --- Running --- */

static void
take_entries(struct trip *trip)
{
	trip->state = TRIP_OVER;
	for (size_t i = 0; i < trip->count; i++) {
		struct flight *flight = &trip->flights[i];

		if (!flight->answered) {
			answer(flight, &(struct outcome){.entry = trip->job.parts[flight->part].entry});
		}
	}
	for (size_t i = 0; i < trip->count; i++) {
		if (trip->mode.stores && trip->flights[i].entry != NULL) {
			store(&trip->flights[i]);
		}
	}
}

/* May the failure come of what only one of those who wait asked for: other rows, or a timeout that steps obey? */
static bool
may_be_anothers(const struct trip *trip)
{
	const struct job *job = &trip->job;

	return job->withdrawn || job->part_count > 1 ||
	       (trip->model->ensemble != NULL && job->status == STATUS_UNAVAILABLE);
}

static void
on_job_mail(struct loop_mail *mail)
{
	struct trip *trip = (struct trip *)((char *)mail - offsetof(struct trip, mail));
	struct job *job = &trip->job;

	trip->job_pending = false;
	if (job->ran && job->status == STATUS_OK) {
		account_run(trip->model, trip->lane->index, job);
	}
	if (job->status == STATUS_OK) {
		take_entries(trip);
	} else if (job->indivisible) {
		atomic_store(&trip->model->whole, true);
		fail_all(trip, job->status, job->error.text, true);
	} else {
		fail_all(trip, job->status, job->error.text, may_be_anothers(trip));
	}
	for (size_t i = 0; i < job->part_count; i++) {
		blob_unref(job->parts[i].entry);
	}
	release(trip);
}

/* On a worker's thread, or on this loop. */
static void
on_job_finished(struct job *job)
{
	struct trip *trip = (struct trip *)job;

	trip->mail.deliver = on_job_mail;
	loop_post(trip->lane->loop, &trip->mail);
}

/* --- An ensemble's run is driven on this loop, and is taken back by mail. --- */

static void
on_ensemble_finished(struct job *job)
{
	((struct trip *)job)->ensemble_run = NULL;
	on_job_finished(job);
}

static void
on_withdraw_mail(struct loop_mail *mail)
{
	struct trip *trip = (struct trip *)((char *)mail - offsetof(struct trip, withdraw_mail));

	atomic_store(&trip->withdrawing, false);
	if (trip->ensemble_run != NULL && atomic_load(&trip->wanted) == 0) {
		ensemble_run_cancel(trip->ensemble_run);
	}
	release(trip);
}

/* Nobody waits any more. Any thread, while the trip is held by a flight without an answer or by the caller. */
static void
withdraw_run(struct trip *trip)
{
	if (trip->model->ensemble == NULL) {
		scheduler_withdraw(trip->model->scheduler, &trip->job);
	} else if (!atomic_exchange(&trip->withdrawing, true)) {
		hold(trip);
		trip->withdraw_mail.deliver = on_withdraw_mail;
		loop_post(trip->lane->loop, &trip->withdraw_mail);
	}
}

static void
start_ensemble(struct trip *trip)
{
	struct ensemble_origin origin = {.directives = trip->directives, .id = trip->id, .block = trip->inputs};

	trip->job.finished = on_ensemble_finished;
	trip->ensemble_run = ensemble_run_new(trip->lane, trip->model, &trip->job, &origin);
	ensemble_run_start(trip->ensemble_run);
}

/* Flights that everybody has left need no run. */
static void
drop_unwanted(struct trip *trip)
{
	for (size_t i = 0; i < trip->count && !trip->mode.background; i++) {
		struct flight *flight = &trip->flights[i];
		struct flight_shard *shard;

		if (flight->answered) {
			continue;
		}
		shard = flight_shard_lock(table_of(trip), &flight->digest);
		if (TAILQ_EMPTY(&flight->waiting)) {
			flight->answered = true;
			flight_leave(flight);
		}
		flight_shard_unlock(shard);
	}
}

static size_t
unanswered(const struct trip *trip)
{
	size_t count = 0;

	for (size_t i = 0; i < trip->count; i++) {
		count += !trip->flights[i].answered;
	}
	return count;
}

static void
set_lifetimes(struct trip *trip)
{
	for (size_t i = 0; i < trip->count; i++) {
		struct flight *flight = &trip->flights[i];

		if (!flight->answered) {
			uint64_t lifetime = freshness_lifetime_ms(&trip->model->freshness, lane_chance(trip->lane));

			trip->job.parts[flight->part].lifetime_ms = lifetime;
			flight->keep_ms = freshness_keep_ms(&trip->model->freshness, lifetime);
		}
	}
}

/* Hands the job to the model's queue; false where that is full. */
static bool
submit(struct trip *trip)
{
	struct scheduler *scheduler = trip->model->scheduler;
	size_t level = atomic_load(&trip->level);

	trip->job.level = level;
	if (!scheduler_submit(scheduler, &trip->job)) {
		return false;
	}
	if (atomic_load(&trip->level) < level) { /* somebody more urgent joined in between */
		scheduler_promote(scheduler, &trip->job, atomic_load(&trip->level));
	}
	return true;
}

static void
start_run(struct trip *trip)
{
	drop_unwanted(trip);
	if (unanswered(trip) == 0) {
		trip->state = TRIP_OVER;
		return;
	}
	if (!trip->mode.runs) {
		fail_all(trip, STATUS_NOT_CACHED, "the answer is not in the cache", false);
		return;
	}
	if ((!trip->kept && trip->leader == NULL) || !trip_keep_inputs(trip) || !trip_fill_job(trip)) {
		fail_all(trip, STATUS_UNAVAILABLE, "no memory for the request's tensors", false);
		return;
	}
	trip->leader = NULL; /* from here on it may go */
	set_lifetimes(trip);
	trip->state = TRIP_RUNNING;
	trip->job.alone = trip->mode.alone;
	trip->job.delay_ns = trip->delay_ns;
	trip->job.finished = on_job_finished;
	trip->job_pending = true;
	hold(trip);
	if (trip->model->ensemble != NULL) {
		start_ensemble(trip);
	} else if (!submit(trip)) {
		trip->job_pending = false;
		fail_all(trip, STATUS_UNAVAILABLE, "Exceeds maximum queue size", false);
		release(trip);
	}
}

/* --- Looking up --- */

static void
stop_waiting(struct trip *trip)
{
	TAILQ_REMOVE(&trip->lane->looking, trip, deadline);
	if (trip->leader != NULL) {
		trip->leader->lookup_ns = clock_now_ns() - trip->leader->keyed_ns;
	}
}

/* What the store found for one flight: true where that is the answer. */
static bool
judge(struct flight *flight, struct blob **value, struct slice **revalidate)
{
	struct trip *trip = flight->trip;
	struct freshness_entry freshness;
	bool on_error;

	if (*value != NULL && !value_usable(trip->lane, trip->model, &flight->key, *value)) {
		blob_unref(*value);
		*value = NULL;
	}
	if (*value == NULL) {
		return false;
	}
	freshness = entry_freshness(*value);
	switch (freshness_judge(&trip->model->freshness, &trip->directives, &freshness, clock_wall_ms(),
				lane_chance(trip->lane), &on_error)) {
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
			answer(&trip->flights[i], &(struct outcome){.entry = values[i], .hit = true});
			blob_unref(values[i]);
		}
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
		start_run(trip);
	} else {
		take_values(trip); /* late, but perhaps before the model */
		if (trip->job_pending && unanswered(trip) == 0) {
			withdraw_run(trip);
		}
	}
	release(trip);
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
		hold(trip);
		stop_waiting(trip);
		start_run(trip);
		release(trip);
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
	/* An immediate store has been asked already; again, because the flight before this one may have ended since. */
	trip->lookup = (struct cache_lookup){.keys = keys,
					     .count = trip->count,
					     .values = values,
					     .repeated = trip->lane->cache->ops->immediate,
					     .done = on_lookup};
	return keys != NULL && values != NULL;
}

static void
start_lookup(struct trip *trip)
{
	struct engine_lane *lane = trip->lane;
	bool first = TAILQ_EMPTY(&lane->looking);

	if (!fill_lookup(trip)) {
		start_run(trip);
		return;
	}
	trip->lookup_start_ns = clock_now_ns();
	if (lane->cache->ops->lookup(lane->store, &trip->lookup)) {
		if (trip->leader != NULL) {
			trip->leader->lookup_ns = clock_now_ns() - trip->leader->keyed_ns;
		}
		take_values(trip);
		start_run(trip);
		return;
	}
	hold(trip);
	trip->lookup_pending = true;
	trip->deadline_ns = trip->lookup_start_ns + (uint64_t)lane->cache->settings.lookup_timeout_ms * 1000000;
	TAILQ_INSERT_TAIL(&lane->looking, trip, deadline);
	if (first) {
		arm_deadline(lane);
	}
}

/* --- Joining --- */

static void
add_flight(struct trip *trip, const struct slice *slice)
{
	struct flight *flight = &trip->flights[trip->count++];

	flight->trip = trip;
	flight->key = slice->key;
	flight->key.scope = bytes_text(trip->model->scope);
	flight->digest = slice->key.digest;
	flight->rows = slice->rows;
	flight->data = slice->data;
	TAILQ_INIT(&flight->waiting);
}

/* Joiners of different flights of one trip meet here. */
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

/* With the flight's shard locked, where it is in the table. */
static void
attach(struct flight *flight, struct slice *slice)
{
	struct trip *trip = flight->trip;

	TAILQ_INSERT_TAIL(&flight->waiting, slice, waiting);
	slice->flight = flight;
	slice->shared = trip->mode.shared;
	atomic_fetch_add(&trip->wanted, 1);
	if (!slice->leads && lower(&trip->level, slice->request->level) && trip->model->scheduler != NULL) {
		scheduler_promote(trip->model->scheduler, &trip->job, slice->request->level);
	}
}

/* True: the slice has its answer now. */
static bool
join_or_lead(struct trip *trip, struct slice *slice)
{
	struct flight_shard *shard = flight_shard_lock(table_of(trip), &slice->key.digest);
	struct flight *other = shard == NULL ? NULL : flight_find(shard, &slice->key.digest);
	bool answered = other != NULL && other->answered;

	slice->leads = other == NULL;
	if (other == NULL) {
		add_flight(trip, slice);
		attach(&trip->flights[trip->count - 1], slice);
		if (shard != NULL) {
			flight_enter(shard, &trip->flights[trip->count - 1]);
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
trip_start(struct engine_lane *lane, struct slice *const *slices, size_t count, struct trip_mode mode)
{
	struct inference_request *request = slices[0]->request;
	struct trip *trip = trip_new(lane, request, mode, count);

	lane->underway++;
	hold(trip);
	request->unresolved++; /* keeps the request while its slices are sent off */
	for (size_t i = 0; i < count; i++) {
		if (join_or_lead(trip, slices[i])) {
			slice_resolve(slices[i]);
		}
	}
	if (trip->count == 0) {
		trip->state = TRIP_OVER;
	} else if (mode.looks) {
		start_lookup(trip);
	} else {
		start_run(trip);
	}
	release(trip);
	slice_resolve_guard(request);
}

/* Under a name of their own: who looks for an answer must find the old one in the store, not wait for this. */
static bool
enter_refresh(struct trip *trip, const struct slice *slice)
{
	struct digest_value digest = slice->key.digest;
	struct flight_shard *shard;
	bool alone;

	digest.bytes[DIGEST_SIZE_MAX - 1] ^= 0xff;
	shard = flight_shard_lock(&trip->lane->engine->flights, &digest);
	alone = flight_find(shard, &digest) == NULL;
	if (alone) {
		add_flight(trip, slice);
		trip->flights[trip->count - 1].digest = digest;
		flight_enter(shard, &trip->flights[trip->count - 1]);
	}
	flight_shard_unlock(shard);
	return alone;
}

void
trip_start_refresh(struct engine_lane *lane, struct slice *const *slices, size_t count)
{
	struct trip_mode mode = {.runs = true, .stores = true, .background = true};
	struct trip *trip = trip_new(lane, slices[0]->request, mode, count);
	size_t rows = 0;

	lane->underway++;
	hold(trip);
	for (size_t i = 0; i < count; i++) {
		rows += enter_refresh(trip, slices[i]);
	}
	if (rows > 0) {
		account_refreshes(lane, trip->model, rows);
		start_run(trip);
	}
	trip->leader = NULL; /* it does not wait for this */
	release(trip);
}

/* --- Leaving --- */

static struct flight_shard *
lock_slice(struct slice *slice)
{
	return flight_shard_lock(slice->shared ? &slice->request->lane->engine->flights : NULL, &slice->key.digest);
}

bool
trip_request_waits(struct inference_request *request)
{
	bool waits = false;

	for (size_t i = 0; i < request->slice_count; i++) {
		struct slice *slice = &request->slices[i];
		struct flight_shard *shard = lock_slice(slice);

		waits = waits ||
			(!slice->resolved && slice->flight != NULL && !atomic_load(&slice->flight->trip->job.started));
		flight_shard_unlock(shard);
	}
	return waits;
}

/* Others may wait for what this request leads, so its tensors stay behind. */
static void
hand_over(const struct slice *slice)
{
	struct trip *trip = slice->flight->trip;

	if (trip->leader == slice->request) {
		(void)trip_keep_inputs(trip); /* without memory it fails when it comes to run */
		trip->leader = NULL;
	}
}

/* False where its answer is on its way here from another loop: until that comes the slice is the sender's. */
static bool
leave(struct slice *slice)
{
	struct flight_shard *shard = lock_slice(slice);
	struct flight *flight = slice->flight;

	if (flight != NULL) {
		TAILQ_REMOVE(&flight->waiting, slice, waiting);
		slice->flight = NULL;
		if (atomic_fetch_sub(&flight->trip->wanted, 1) == 1) {
			withdraw_run(flight->trip);
		}
	}
	flight_shard_unlock(shard);
	return flight != NULL;
}

void
trip_leave(struct inference_request *request, struct blob *failure)
{
	request->unresolved++;
	for (size_t i = 0; i < request->slice_count; i++) {
		if (!request->slices[i].resolved && request->slices[i].leads && request->slices[i].flight != NULL) {
			hand_over(&request->slices[i]);
		}
	}
	for (size_t i = 0; i < request->slice_count; i++) {
		struct slice *slice = &request->slices[i];

		if (!slice->resolved && leave(slice)) {
			slice->failure = blob_ref(failure);
			slice->result = slice->keyed ? (slice->leads ? SLICE_MISS : SLICE_JOINED) : slice->result;
			slice_resolve(slice);
		}
	}
	slice_resolve_guard(request);
}
