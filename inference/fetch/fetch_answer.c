/* Answering all slices that wait for the flights of a fetch. */
#include "inference/fetch/fetch.h"

static void
on_slice_mail(struct loop_mail *mail)
{
	struct slice *slice = (struct slice *)mail;

	slice->done(slice);
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

static void
give(const struct flight *flight, struct slice *slice, const struct outcome *outcome)
{
	const struct job *job = &flight->fetch->job;

	slice->result = result_of(flight, slice, outcome);
	slice->entry = outcome->entry == NULL ? NULL : blob_ref(outcome->entry);
	slice->failure = outcome->failure == NULL ? NULL : blob_ref(outcome->failure);
	slice->retry = slice->leads ? RETRY_NOT : outcome->retry;
	slice->expired = slice->expired || flight->expired;
	slice->unwanted = slice->unwanted || flight->unwanted;
	slice->stored = flight->fetch->mode.stores && !outcome->hit && outcome->entry != NULL &&
			lane_is_small_enough(flight->fetch->lane, outcome->entry);
	if (!outcome->hit && !flight->fetch->job_pending && job->ran) {
		slice->times = job->times;
		slice->times.queue_ns = job->started_ns - job->queued_ns;
	}
	/* Judged by the leader's directives, so only the leader may use it. */
	if (outcome->failure != NULL && flight->stale != NULL && slice->leads && slice->stale == NULL) {
		slice->stale = blob_ref(flight->stale);
	}
}

/* Publishes the answer to later joiners, and moves the waiting slices to `waiting`. */
static void
publish(struct flight *flight, const struct outcome *outcome, struct slice_list *waiting)
{
	struct flight_shard *shard = flight_shard_lock(fetch_table(flight->fetch), &flight->digest);
	struct slice *slice;

	flight->answered = true;
	TAILQ_INIT(waiting);
	TAILQ_CONCAT(waiting, &flight->waiting, waiting);
	TAILQ_FOREACH (slice, waiting, waiting) {
		slice->flight = NULL;
		(void)atomic_fetch_sub(&flight->fetch->wanted, 1);
	}
	/* A failure is only for the waiting slices; the next request runs again. A hit needs no storing. */
	if (outcome->failure != NULL || outcome->hit || !flight->fetch->mode.stores) {
		flight_leave(shard, flight);
	} else {
		flight->entry = blob_ref(outcome->entry);
	}
	flight_shard_unlock(shard);
}

void
fetch_answer(struct flight *flight, const struct outcome *outcome)
{
	struct engine_lane *lane = flight->fetch->lane;
	struct slice_list waiting;
	struct slice *slice;

	publish(flight, outcome, &waiting);
	while ((slice = TAILQ_FIRST(&waiting)) != NULL) {
		TAILQ_REMOVE(&waiting, slice, waiting);
		give(flight, slice, outcome);
		if (slice->request->state->lane == lane) {
			slice->done(slice);
		} else {
			slice->mail.deliver = on_slice_mail;
			loop_post(slice->request->state->lane->loop, &slice->mail);
		}
	}
}

static void
fail_all(struct fetch *fetch, struct blob *failure, enum slice_retry retry)
{
	fetch->state = FETCH_SETTLED;
	for (size_t i = 0; i < fetch->count; i++) {
		if (!fetch->flights[i].answered) {
			fetch_answer(&fetch->flights[i], &(struct outcome){.failure = failure, .retry = retry});
		}
	}
	blob_unref(failure);
}

void
fetch_fail(struct fetch *fetch, const struct error *error, enum slice_retry retry)
{
	struct blob *failure = failure_new(error->status, error->text);

	((struct error *)failure->data)->http = error->http;
	((struct error *)failure->data)->is_remote = error->is_remote;
	fail_all(fetch, failure, retry);
}

void
fetch_refuse(struct fetch *fetch, enum status status, const char *text)
{
	fail_all(fetch, failure_new(status, text), RETRY_NOT);
}

size_t
fetch_unanswered(const struct fetch *fetch)
{
	size_t count = 0;

	for (size_t i = 0; i < fetch->count; i++) {
		count += !fetch->flights[i].answered;
	}
	return count;
}
