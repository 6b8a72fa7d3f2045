/* The second half of a trip: its answers to all who wait, the run of what the store did not know, and storing. */
#include "base/clock.h"
#include "inference/engine_internal.h"
#include "inference/ensemble_run.h"
#include "inference/entry.h"
#include "inference/model_run.h"

/* --- Answering --- */

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
	slice->retry = slice->leads ? RETRY_NOT : outcome->retry;
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
	struct flight_shard *shard = flight_shard_lock(trip_table(flight->trip), &flight->digest);
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
		flight_leave(shard, flight);
	} else {
		flight->entry = blob_ref(outcome->entry);
	}
	flight_shard_unlock(shard);
}

void
trip_answer(struct flight *flight, const struct outcome *outcome)
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

void
trip_fail(struct trip *trip, enum status status, const char *text, enum slice_retry retry)
{
	struct blob *failure = failure_new(status, text);

	trip->state = TRIP_OVER;
	for (size_t i = 0; i < trip->count; i++) {
		if (!trip->flights[i].answered) {
			trip_answer(&trip->flights[i], &(struct outcome){.failure = failure, .retry = retry});
		}
	}
	blob_unref(failure);
}

/* --- Storing: write-behind, the answer is on its way already. Until it is stored, equal questions find it here. --- */

static void
on_inserted(struct cache_insert *insert)
{
	struct flight *flight = (struct flight *)((char *)insert - offsetof(struct flight, insert));
	struct flight_shard *shard = flight_shard_lock(trip_table(flight->trip), &flight->digest);

	flight_leave(shard, flight);
	flight_shard_unlock(shard);
	trip_release(flight->trip);
}

/* The answer of an ensemble has lived a part of its life already. */
static void
fill_insert(struct flight *flight)
{
	struct freshness_entry freshness = entry_freshness(flight->entry);
	uint64_t keep = freshness_keep_ms(&flight->trip->model->freshness, freshness.lifetime_ms);
	uint64_t now = clock_wall_ms();

	flight->insert = (struct cache_insert){.key = &flight->key,
					       .value = flight->entry,
					       .ttl_ms = freshness_left_ms(&freshness, keep, now),
					       .fresh_ms = freshness_left_ms(&freshness, freshness.lifetime_ms, now),
					       .done = on_inserted};
}

static void
store(struct flight *flight)
{
	struct trip *trip = flight->trip;
	uint64_t start = clock_now_ns();
	bool stored;

	trip_hold(trip);
	fill_insert(flight);
	atomic_store_explicit(&trip->model->too_large, !is_small_enough(trip->lane, flight->entry),
			      memory_order_relaxed);
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
			trip_answer(flight, &(struct outcome){.entry = trip->job.parts[flight->part].entry});
		}
	}
	for (size_t i = 0; i < trip->count; i++) {
		if (trip->mode.stores && trip->flights[i].entry != NULL) {
			store(&trip->flights[i]);
		}
	}
}

/* May the failure come of what only one of those who wait asked for: other rows, or a timeout that steps obey? */
static enum slice_retry
retry_of(const struct trip *trip)
{
	const struct job *job = &trip->job;

	if (job->withdrawn) {
		return RETRY_JOINED;
	}
	return job->part_count > 1 || (trip->model->ensemble != NULL && job->status == STATUS_UNAVAILABLE) ? RETRY_ALONE
													   : RETRY_NOT;
}

static void
on_job_mail(struct loop_mail *mail)
{
	struct trip *trip = (struct trip *)((char *)mail - offsetof(struct trip, mail));
	struct job *job = &trip->job;

	trip->job_pending = false;
	if (job->ran && job->status == STATUS_OK && !trip->mode.audits) {
		model_run_account(trip->model, trip->lane->index, job);
	}
	if (trip->model->ensemble != NULL && job->ran && !trip->mode.audits) {
		(void)atomic_fetch_add(&trip->model->rows.run_ns, job->finished_ns - job->started_ns);
	}
	/* Else it may have run beside others. Who waits asks again. */
	trip->mode.stores = trip->mode.stores && model_row_losses(trip->model) == trip->row_losses;
	if (job->by_row && (job->rows_inseparable || !model_by_row(trip->model))) {
		trip_fail(trip, STATUS_INTERNAL, "the rows of the model's outputs cannot be told apart", RETRY_NOT);
	} else if (job->status == STATUS_OK) {
		take_entries(trip);
	} else {
		trip_fail(trip, job->status, job->error->text, retry_of(trip));
	}
	for (size_t i = 0; i < job->part_count; i++) {
		blob_unref(job->parts[i].entry);
	}
	lane_purge_rows(trip->lane, trip->model);
	trip_release(trip);
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
	trip_release(trip);
}

void
trip_withdraw(struct trip *trip)
{
	if (trip->model->ensemble == NULL) {
		scheduler_withdraw(trip->model->scheduler, &trip->job);
	} else if (!atomic_exchange(&trip->withdrawing, true)) {
		trip_hold(trip);
		trip->withdraw_mail.deliver = on_withdraw_mail;
		loop_post(trip->lane->loop, &trip->withdraw_mail);
	}
}

static void
start_ensemble(struct trip *trip)
{
	struct ensemble_origin origin = {
		.directives = trip->directives, .id = trip->id, .block = trip->inputs, .audits = trip->mode.audits};

	trip->job.finished = on_ensemble_finished;
	trip->ensemble_run = ensemble_run_new(trip->lane, trip->model, &trip->job, &origin);
	ensemble_run_start(trip->ensemble_run);
}

size_t
trip_unanswered(const struct trip *trip)
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
	bool cached = trip->lane->cache != NULL && trip->model->config.response_cache;

	for (size_t i = 0; i < trip->count && cached; i++) {
		if (!trip->flights[i].answered) {
			trip->job.parts[trip->flights[i].part].lifetime_ms =
				freshness_lifetime_ms(&trip->model->freshness, lane_chance(trip->lane));
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

/* The lane may get another secret while the job is under way, so it takes a copy. */
static void
set_entry_key(struct trip *trip)
{
	const struct engine_lane *lane = trip->lane;

	if (trip->mode.stores && lane->cache->ops->foreign) {
		trip->entry_key = lane->entry_key;
		trip->job.entry_key = &trip->entry_key;
		trip->job.entry_hash = (enum keyed_hash_kind)lane->cache->settings.key_hash;
	}
}

void
trip_run(struct trip *trip)
{
	if (trip_unanswered(trip) == 0) {
		trip->state = TRIP_OVER;
		return;
	}
	if (!trip->mode.runs) {
		trip_fail(trip, STATUS_NOT_CACHED, "the answer is not in the cache", RETRY_NOT);
		return;
	}
	if ((!trip->kept && trip->leader == NULL) || !trip_keep_inputs(trip) || !trip_fill_job(trip)) {
		trip_fail(trip, STATUS_UNAVAILABLE, "no memory for the request's tensors", RETRY_NOT);
		return;
	}
	trip->leader = NULL; /* from here on it may go */
	set_lifetimes(trip);
	trip->state = TRIP_RUNNING;
	trip->job.alone = trip->mode.alone;
	trip->row_losses = model_row_losses(trip->model);
	trip->job.unmerged = !row_trust_together(&trip->model->rows);
	set_entry_key(trip);
	trip->job.delay_ns = trip->delay_ns;
	trip->job.finished = on_job_finished;
	trip->job_pending = true;
	trip_hold(trip);
	if (trip->model->ensemble != NULL) {
		start_ensemble(trip);
	} else if (!submit(trip)) {
		trip->job_pending = false;
		trip_fail(trip, STATUS_UNAVAILABLE, "Exceeds maximum queue size", RETRY_NOT);
		trip_release(trip);
	}
}
