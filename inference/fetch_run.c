/* The run of what the store did not know, and storing. */
#include "base/clock.h"
#include "inference/engine_internal.h"
#include "inference/entry.h"
#include "inference/model_run.h"

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
	atomic_store_explicit(&trip->model->too_large, !lane_is_small_enough(trip->lane, flight->entry),
			      memory_order_relaxed);
	if (!lane_is_small_enough(trip->lane, flight->entry)) {
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

void
trip_withdraw(struct trip *trip)
{
	trip->executor->withdraw(trip->model, &trip->job);
}

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
	return job->part_count > 1 || (trip->executor->passes_on && job->status == STATUS_UNAVAILABLE) ? RETRY_ALONE
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

/* Hands the job to whoever runs it; false where there is no room. */
static bool
submit(struct trip *trip)
{
	const struct executor_ops *executor = trip->executor;
	struct job_origin origin = {.lane = trip->lane,
				    .directives = trip->directives,
				    .id = trip->id,
				    .block = trip->inputs,
				    .audits = trip->mode.audits};
	size_t level = atomic_load(&trip->level);

	trip->job.level = level;
	if (!executor->submit(trip->model, &trip->job, &origin)) {
		return false;
	}
	if (executor->promote != NULL && atomic_load(&trip->level) < level) { /* of who joined in between */
		executor->promote(trip->model, &trip->job, atomic_load(&trip->level));
	}
	if (atomic_load(&trip->wanted) == 0 && !trip->mode.background) { /* all have left in between */
		trip_withdraw(trip);
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
	if (!submit(trip)) {
		trip->job_pending = false;
		trip_fail(trip, STATUS_UNAVAILABLE, "Exceeds maximum queue size", RETRY_NOT);
		trip_release(trip);
	}
}
