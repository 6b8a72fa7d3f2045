/* Running the flights that the store did not answer, and storing the results. */
#include "base/clock.h"
#include "base/container_of.h"
#include "inference/fetch/account.h"
#include "inference/fetch/fetch.h"
#include "inference/cache/entry.h"
#include "inference/models/model_run.h"

/* --- Storing, after the answer: until an entry is stored, equal questions find it in its flight --- */

static void
on_inserted(struct cache_insert *insert)
{
	struct flight *flight = container_of(insert, struct flight, insert);
	struct flight_shard *shard = flight_shard_lock(fetch_table(flight->fetch), &flight->digest);

	flight_leave(shard, flight);
	flight_shard_unlock(shard);
	fetch_release(flight->fetch);
}

/* The answer of an ensemble may have used up part of its lifetime already. */
static void
fill_insert(struct flight *flight)
{
	struct freshness_entry freshness = entry_freshness(flight->entry);
	uint64_t keep = freshness_keep_ms(&flight->fetch->model->freshness, freshness.lifetime_ms);
	uint64_t now = clock_wall_ms();

	flight->insert = (struct cache_insert){.key = &flight->key,
					       .value = flight->entry,
					       .ttl_ms = freshness_left_ms(&freshness, keep, now),
					       .fresh_ms = freshness_left_ms(&freshness, freshness.lifetime_ms, now),
					       .cost_us = freshness.cost_us,
					       .done = on_inserted};
}

/* A purge on another loop may have come between the look at the marks and the insert. */
static void
remove_if_purged(const struct flight *flight)
{
	const struct fetch *fetch = flight->fetch;
	const struct cache_ops *ops = fetch->lane->cache->ops;

	if (ops->remove != NULL && lane_purged_since(fetch->lane, fetch->model, fetch->begun_ns)) {
		ops->remove(fetch->lane->store, &flight->key);
	}
}

static void
store(struct flight *flight)
{
	struct fetch *fetch = flight->fetch;
	uint64_t start = clock_now_ns();
	bool too_large = !lane_is_small_enough(fetch->lane, flight->entry);
	bool stored;

	fetch_hold(fetch);
	fill_insert(flight);
	atomic_store_explicit(&fetch->model->too_large, too_large, memory_order_relaxed);
	if (too_large) {
		account_too_large(fetch->lane, fetch->model);
		on_inserted(&flight->insert);
		return;
	}
	stored = fetch->lane->cache->ops->insert(fetch->lane->store, &flight->insert);
	account_insert(fetch, flight->entry, clock_now_ns() - start);
	remove_if_purged(flight);
	if (stored) {
		on_inserted(&flight->insert);
	}
}

/* --- Running --- */

void
fetch_withdraw(struct fetch *fetch)
{
	fetch->executor->withdraw(fetch->model, &fetch->job);
}

static void
take_entries(struct fetch *fetch)
{
	fetch->state = FETCH_SETTLED;
	for (size_t i = 0; i < fetch->count; i++) {
		struct flight *flight = &fetch->flights[i];

		if (!flight->answered) {
			fetch_answer(flight, &(struct outcome){.entry = fetch->job.parts[flight->part].entry});
		}
	}
	for (size_t i = 0; i < fetch->count; i++) {
		if (fetch->mode.stores && fetch->flights[i].entry != NULL) {
			store(&fetch->flights[i]);
		}
	}
}

/* May the failure be due to only one of the waiting requests: to its other rows, or a timeout that steps obey? */
static enum slice_retry
retry_of(const struct fetch *fetch)
{
	const struct job *job = &fetch->job;

	if (job->withdrawn) {
		return RETRY_JOINED;
	}
	if (job->status == STATUS_PASS) { /* says nothing about the rows */
		return RETRY_NOT;
	}
	return job->part_count > 1 || (fetch->executor->passes_on && job->status == STATUS_UNAVAILABLE)
		       ? RETRY_UNBATCHED
		       : RETRY_NOT;
}

static void
on_job_mail(struct loop_mail *mail)
{
	struct fetch *fetch = container_of(mail, struct fetch, mail);
	struct job *job = &fetch->job;

	fetch->job_pending = false;
	if (job->ran && job->status == STATUS_OK && !fetch->mode.audits) {
		model_run_account(fetch->model, fetch->lane->index, job);
	}
	/*
	 * If row trust was lost meanwhile, nothing is stored, and requests run again. What was under way during a purge
	 * is not stored, either, nor what a model has answered that is suspended.
	 */
	fetch->mode.stores = fetch->mode.stores && model_row_losses(fetch->model) == fetch->row_losses &&
			     !model_is_suspended(fetch->model) &&
			     !lane_purged_since(fetch->lane, fetch->model, fetch->begun_ns);
	if (job->by_row && (job->rows_inseparable || !model_by_row(fetch->model))) {
		fetch_refuse(fetch, STATUS_INTERNAL, "the rows of the model's outputs cannot be told apart");
	} else if (job->status == STATUS_OK) {
		take_entries(fetch);
	} else {
		fetch_fail(fetch, job_error(job), retry_of(fetch));
	}
	for (size_t i = 0; i < job->part_count; i++) {
		blob_unref(job->parts[i].entry);
	}
	lane_purge_rows(fetch->lane, fetch->model);
	fetch_release(fetch);
}

/* On a worker's thread, or on this loop. */
static void
on_job_finished(struct job *job)
{
	struct fetch *fetch = (struct fetch *)job;

	fetch->mail.deliver = on_job_mail;
	loop_post(fetch->lane->loop, &fetch->mail);
}

static void
set_lifetimes(struct fetch *fetch)
{
	bool cached = fetch->lane->cache != NULL && fetch->model->config.response_cache;

	for (size_t i = 0; i < fetch->count && cached; i++) {
		if (!fetch->flights[i].answered) {
			fetch->job.parts[fetch->flights[i].part].lifetime_ms =
				freshness_lifetime_ms(&fetch->model->freshness, lane_chance(fetch->lane));
		}
	}
}

/* Hands the job to its executor. Returns false if there is no room. */
static bool
submit(struct fetch *fetch)
{
	const struct executor_ops *executor = fetch->executor;
	struct job_origin origin = {.lane = fetch->lane,
				    .directives = fetch->directives,
				    .id = fetch->id,
				    .block = fetch->inputs,
				    .audits = fetch->mode.audits};
	size_t level = atomic_load(&fetch->level);

	fetch->job.level = level;
	if (!executor->submit(fetch->model, &fetch->job, &origin)) {
		return false;
	}
	if (executor->promote != NULL && atomic_load(&fetch->level) < level) { /* raised by a later joiner */
		executor->promote(fetch->model, &fetch->job, atomic_load(&fetch->level));
	}
	if (atomic_load(&fetch->wanted) == 0 && !fetch->mode.background) { /* all have left meanwhile */
		fetch_withdraw(fetch);
	}
	return true;
}

/* Copies the key, since the lane may get another secret while the job is under way. */
static void
set_entry_key(struct fetch *fetch)
{
	const struct engine_lane *lane = fetch->lane;

	if (fetch->mode.stores && lane->cache->ops->untrusted) {
		fetch->entry_key = lane->entry_key;
		fetch->job.entry_key = &fetch->entry_key;
		fetch->job.entry_hash = (enum keyed_hash_kind)lane->cache->settings.key_hash;
	}
}

void
fetch_run(struct fetch *fetch)
{
	if (fetch_unanswered(fetch) == 0) {
		fetch->state = FETCH_SETTLED;
		return;
	}
	if (!fetch->mode.runs) {
		fetch_refuse(fetch, STATUS_NOT_CACHED, "the answer is not in the cache");
		return;
	}
	if ((!fetch->kept && fetch->leader == NULL) || !fetch_keep_inputs(fetch) || !fetch_fill_job(fetch)) {
		fetch_refuse(fetch, STATUS_UNAVAILABLE, "no memory for the request's tensors");
		return;
	}
	fetch->leader = NULL; /* the leader may go from here on */
	fetch->job.is_joined = &fetch->is_joined;
	set_lifetimes(fetch);
	fetch->state = FETCH_SETTLED;
	fetch->job.unbatched = fetch->mode.unbatched;
	fetch->row_losses = model_row_losses(fetch->model);
	fetch->job.unmerged = !row_trust_together(&fetch->model->rows);
	set_entry_key(fetch);
	fetch->job.delay_ns = fetch->delay_ns;
	fetch->job.finished = on_job_finished;
	fetch->job_pending = true;
	fetch_hold(fetch);
	if (!submit(fetch)) {
		fetch->job_pending = false;
		fetch_refuse(fetch, STATUS_QUEUE_FULL, "Exceeds maximum queue size");
		fetch_release(fetch);
	}
}
