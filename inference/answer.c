/* Completing a request: retrying its slices, assembling and auditing the answer, and delivering it. */
#include "base/clock.h"
#include "base/container_of.h"
#include "inference/engine_internal.h"
#include "inference/cache/entry.h"
#include "inference/models/row_audit.h"
#include "inference/rows.h"

static void
drop_slices(const struct slice *slices, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		blob_unref(slices[i].entry);
		blob_unref(slices[i].stale);
		blob_unref(slices[i].failure);
	}
}

/* Was the request withdrawn while its assembled answer still needs an audit? The first such answers must have one. */
static bool
is_too_late_to_audit(const struct inference_request *request)
{
	const struct request_state *state = request->state;

	return state->wait == REQUEST_WITHDRAWN && state->by_row && state->slice_count > 1 &&
	       row_trust_is_new(&request->model->rows);
}

/* Uses stale entries where the model failed (stale-if-error). */
static void
use_stale(struct inference_request *request)
{
	for (size_t i = 0; i < request->state->slice_count; i++) {
		struct slice *slice = &request->state->slices[i];
		enum status status =
			slice->failure == NULL ? STATUS_OK : ((const struct error *)slice->failure->data)->status;

		if (slice->stale != NULL &&
		    (status == STATUS_INTERNAL || status == STATUS_UNAVAILABLE || status == STATUS_QUEUE_FULL)) {
			blob_unref(slice->failure);
			slice->failure = NULL;
			slice->entry = slice->stale;
			slice->stale = NULL;
			slice->stored = false;
			slice->result = SLICE_HIT;
		}
	}
}

/* Returns the first failure that no retry could repair (RETRY_NOT), else the first failure; NULL if there is none. */
static const struct error *
first_failure(const struct inference_request *request)
{
	const struct slice *first = NULL;

	for (size_t i = 0; i < request->state->slice_count; i++) {
		const struct slice *slice = &request->state->slices[i];

		if (slice->failure != NULL &&
		    (first == NULL || (first->retry != RETRY_NOT && slice->retry == RETRY_NOT))) {
			first = slice;
		}
	}
	return first == NULL ? NULL : (const struct error *)first->failure->data;
}

static void
hand_out(struct inference_request *request)
{
	struct request_state *state = request->state;
	struct engine_lane *lane = state->lane;
	struct model *model = request->model;
	bool pending = state->pending;

	state->answered = true;
	if (state->starting) {
		return; /* engine_infer reports it by its return value */
	}
	request->done(request);
	if (pending) {
		model_unref(model);
		lane_less_underway(lane);
	}
}

static void
on_turn(struct loop_mail *mail)
{
	hand_out(container_of(mail, struct request_state, mail)->request);
}

/* Delivers every answer whose turn has come, each on its own loop. */
static void
hand_out_in_order(struct inference_request *request)
{
	struct order_list leaving;
	struct order *order;

	ordering_ready(request->model->ordering, &request->state->order, &leaving);
	while ((order = TAILQ_FIRST(&leaving)) != NULL) {
		struct request_state *next = container_of(order, struct request_state, order);

		TAILQ_REMOVE(&leaving, order, next);
		if (next->request == request && next->starting) {
			hand_out(request);
		} else {
			next->mail.deliver = on_turn;
			loop_post(next->lane->loop, &next->mail);
		}
	}
}

void
request_conclude(struct inference_request *request)
{
	struct request_state *state = request->state;

	loop_timer_free(state->timer);
	state->timer = NULL;
	request_report(request);
	account_request(state->lane, request);
	drop_slices(state->slices, state->slice_count);
	drop_slices(state->audit, state->audit != NULL);
	if (request->model->ordering != NULL) {
		hand_out_in_order(request);
	} else {
		hand_out(request);
	}
}

static void
fail(struct inference_request *request, const struct error *failure)
{
	struct bytes id = request->id.length > 0 ? request->id : bytes_text("<id_unknown>");

	*request->error = *failure;
	if (failure->status == STATUS_QUEUE_FULL) { /* as in Triton, with the request id in front */
		request->error->status = STATUS_UNAVAILABLE;
		(void)error_prefix(request->error, "[request id: %.*s] ", BYTES_ARGS(id));
	}
	request->status = request->error->status;
}

/* --- Queue timeouts and withdrawal --- */

void
request_withdraw(struct inference_request *request, enum status status, const char *text)
{
	struct request_state *state = request->state;
	struct blob *failure;

	if (state->answered || state->wait == REQUEST_WITHDRAWN || !fetch_request_waits(request)) {
		return;
	}
	state->wait = REQUEST_WITHDRAWN;
	failure = failure_new(status, text);
	request_hold(request);
	fetch_leave(request, failure);
	request_release(request);
	blob_unref(failure);
}

static void
time_out(struct inference_request *request)
{
	request_withdraw(request, STATUS_UNAVAILABLE, "Request timeout expired");
}

static void
on_timeout(void *argument)
{
	struct request_state *state = argument;

	state->wait = state->wait == REQUEST_WANTED ? REQUEST_TIMED_OUT : state->wait;
	time_out(state->request);
}

/* Sets the queue timeout: when it expires, the queue delays the job, or this loop rejects the request. */
static void
set_timeout(struct inference_request *request)
{
	struct request_state *state = request->state;
	uint64_t timeout = request_queue_timeout(request);

	if (model_batching_policy(&request->model->config.batching, state->level)->delays) {
		state->delay_ns = timeout * 1000;
	} else if (timeout > 0) {
		state->timer = loop_timer_new(state->lane->loop, on_timeout, state);
		loop_timer_set(state->timer, (timeout + 999) / 1000);
	}
}

void
request_become_pending(struct inference_request *request)
{
	request->state->pending = true;
	(void)model_ref(request->model);
	request->state->lane->underway++;
	set_timeout(request);
}

/* Sends a slice again. A timeout that has expired still applies. */
static void
start_again(struct slice *slice, struct fetch_mode mode)
{
	struct inference_request *request = slice->request;

	request_hold(request); /* it may be answered meanwhile */
	request_send(request, &slice, 1, mode);
	if (request->state->wait == REQUEST_TIMED_OUT) {
		time_out(request);
	}
	request_release(request);
}

/* Starts another run, free of the queue timeout of the first. */
static void
start_slice(struct slice *slice, struct fetch_mode mode)
{
	struct inference_request *request = slice->request;
	struct request_state *state = request->state;

	if (!state->pending) {
		request_become_pending(request);
	} else {
		loop_timer_free(state->timer);
		state->timer = NULL;
		state->wait = REQUEST_WANTED;
	}
	start_again(slice, mode);
}

/*
 * Runs the whole request once more by itself when results of its rows, or of a shared batch, are unusable: at most once
 * for each loss of row trust. Returns false if it may not run.
 */
static bool
start_over_whole(struct inference_request *request)
{
	struct request_state *state = request->state;
	struct slice *old = state->slices;
	size_t old_count = state->slice_count;
	enum slice_result result = old_count == 0 ? SLICE_MISS : old[0].result;

	if (state->wait == REQUEST_WITHDRAWN || request->directives.only || !rows_cut(request, false)) {
		return false;
	}
	drop_slices(old, old_count);
	state->row_losses = model_row_losses(request->model);
	state->scattered = false;
	state->slices[0].result = result == SLICE_HIT || result == SLICE_JOINED ? SLICE_MISS : result;
	start_slice(&state->slices[0], (struct fetch_mode){.runs = true, .unbatched = true});
	return true;
}

static bool
assemble(struct inference_request *request)
{
	struct request_state *state = request->state;
	bool fit = true;

	if (state->slice_count == 1) {
		request->entry = state->slices[0].entry;
		blob_ref(request->entry);
		return true;
	}
	request->entry = rows_assemble(request, &fit);
	if (!fit) {
		model_lose_row_trust(request->model, ROWS_MISSHAPEN, "rows of one request have different shapes");
		lane_purge_rows(state->lane, request->model);
		return false;
	}
	if (request->entry == NULL) {
		request->status = error_set(request->error, STATUS_UNAVAILABLE, "no memory for the response");
	}
	return true;
}

static void
finish_whole(struct inference_request *request)
{
	request->status = error_set(request->error, request->directives.only ? STATUS_NOT_CACHED : STATUS_UNAVAILABLE,
				    "the rows of the answer cannot be put together");
}

/* --- Auditing an answer assembled from rows of several runs: the whole request runs once more --- */

/* Does the answer combine rows of several runs? A single cached row counts: it may have run in a batch. */
static bool
is_put_together(const struct inference_request *request)
{
	const struct request_state *state = request->state;
	bool known = state->scattered;

	for (size_t i = 0; i < state->slice_count && state->by_row; i++) {
		known = known || state->slices[i].result == SLICE_HIT || state->slices[i].result == SLICE_JOINED;
	}
	return known;
}

/*
 * The first answers are always audited, later ones by sampling. Single rows are sampled at random, so that hits share
 * no counter.
 */
static bool
is_to_be_audited(struct inference_request *request)
{
	struct request_state *state = request->state;
	struct row_trust *rows = &request->model->rows;
	uint64_t cost = atomic_load_explicit(&request->model->run_span_ns, memory_order_relaxed);

	if (state->slice_count == 1) {
		return lane_chance(state->lane) * ROW_TRUST_SAMPLE <= 1 && row_trust_affords(rows, cost);
	}
	state->must_be_audited = row_trust_first_audits(rows, 1) > 0;
	return state->must_be_audited || row_trust_samples(rows, 1, cost);
}

static bool
start_audit(struct inference_request *request)
{
	struct request_state *state = request->state;

	if (state->audit != NULL || state->wait == REQUEST_WITHDRAWN || !is_put_together(request) ||
	    !is_to_be_audited(request)) {
		return false;
	}
	state->audit = rows_whole(request);
	if (state->audit == NULL) {
		row_trust_give_back(&request->model->rows, state->must_be_audited);
		blob_unref(request->entry);
		request->entry = NULL;
		request->status = error_set(request->error, STATUS_UNAVAILABLE, "no memory for the request");
		return false;
	}
	state->unresolved++;
	start_slice(state->audit, (struct fetch_mode){.runs = true, .unbatched = true, .audits = true});
	return true;
}

static void
drop_answer(struct inference_request *request)
{
	struct request_state *state = request->state;

	blob_unref(request->entry);
	request->entry = NULL;
	for (size_t i = 0; i < state->slice_count; i++) {
		state->slices[i].result = SLICE_MISS;
		state->slices[i].stored = false;
	}
}

/*
 * The model's answer to the whole request replaces an assembled answer that differs. If the audit run failed, the
 * assembled answer is used only if the audit was optional and row trust holds; otherwise the request fails, as without
 * a cache.
 */
static void
finish_audit(struct inference_request *request)
{
	struct request_state *state = request->state;
	struct slice *audit = state->audit;
	uint64_t ns = audit->times.input_ns + audit->times.infer_ns + audit->times.output_ns;

	if (audit->entry == NULL) {
		row_trust_give_back(&request->model->rows, state->must_be_audited);
		if (state->must_be_audited || !model_by_row(request->model)) {
			drop_answer(request);
			fail(request, (const struct error *)audit->failure->data);
		}
		return;
	}
	if (row_audit_passes(request->model, audit->entry, request->entry, -1, NULL, ns)) {
		return;
	}
	drop_answer(request);
	if (request->directives.only) {
		finish_whole(request);
	} else {
		request->entry = blob_ref(audit->entry);
	}
	lane_purge_rows(state->lane, request->model);
}

/* --- Finishing --- */

/*
 * Has the model, or a member of the ensemble, lost row trust since the keys were made? The results may then be wrong.
 */
static bool
is_spoilt(struct inference_request *request)
{
	return !request->audits && (model_row_losses(request->model) != request->state->row_losses ||
				    (request->state->by_row && !model_by_row(request->model)));
}

/* A failed row may succeed in a run of the whole; a failed whole is final. */
static bool
is_worth_another_run(const struct inference_request *request)
{
	return request->state->by_row || first_failure(request) == NULL;
}

void
request_finish(struct inference_request *request)
{
	const struct error *failure;
	bool spoilt;

	if (request->state->audit != NULL && request->state->audit->resolved) {
		finish_audit(request);
		request_conclude(request);
		return;
	}
	spoilt = is_spoilt(request);
	if (spoilt && is_worth_another_run(request) && start_over_whole(request)) {
		return;
	}
	if (!spoilt && !is_too_late_to_audit(request)) {
		use_stale(request);
	}
	failure = first_failure(request);
	request->status = STATUS_OK;
	if (failure != NULL) {
		fail(request, failure);
	} else if (spoilt || (is_too_late_to_audit(request) && is_put_together(request))) {
		finish_whole(request);
	} else if (!assemble(request)) {
		if (start_over_whole(request)) {
			return;
		}
		finish_whole(request);
	} else if (request->status == STATUS_OK && start_audit(request)) {
		return;
	}
	request_conclude(request);
}

/* Has any slice finally failed? Reads resolved slices only: another loop may be writing the others. */
static bool
has_failed(const struct inference_request *request)
{
	const struct request_state *state = request->state;

	for (size_t i = 0; i < state->slice_count; i++) {
		if (state->slices[i].resolved && state->slices[i].failure != NULL) {
			return true;
		}
	}
	return false;
}

/* Is the answer fresh enough for this request? A joined answer was judged for another request only. */
static bool
suits(const struct slice *slice)
{
	const struct inference_request *request = slice->request;
	struct freshness_entry freshness;
	enum freshness verdict;
	bool on_error;

	if (slice->result != SLICE_JOINED) {
		return true;
	}
	freshness = entry_freshness(slice->entry);
	verdict = freshness_judge(&request->model->freshness, &request->directives, &freshness, clock_wall_ms(), 1,
				  &on_error);
	return verdict != FRESHNESS_TOO_OLD && verdict != FRESHNESS_STALE;
}

static enum slice_retry
second_try(const struct slice *slice)
{
	const struct inference_request *request = slice->request;

	if (slice->retried || request->state->wait == REQUEST_WITHDRAWN || request->directives.only) {
		return RETRY_NOT;
	}
	if (slice->failure == NULL) {
		return suits(slice) ? RETRY_NOT : RETRY_UNBATCHED;
	}
	return has_failed(request) ? RETRY_NOT : slice->retry;
}

static void
try_again(struct slice *slice, enum slice_retry how)
{
	struct inference_request *request = slice->request;
	struct request_state *state = request->state;
	struct fetch_mode mode = {.runs = true, .stores = slice->keyed, .audits = slice == state->audit};

	blob_unref(slice->entry);
	blob_unref(slice->failure);
	slice->entry = NULL;
	slice->failure = NULL;
	slice->shared = false;
	state->scattered = state->scattered || state->by_row;
	if (how == RETRY_UNBATCHED) {
		slice->retried = true;
		mode.unbatched = true;
	} else {
		mode.shared = !request->directives.alone;
		mode.looks = true;
	}
	start_again(slice, mode);
}

static void
on_slice_done(struct slice *slice)
{
	enum slice_retry retry = second_try(slice);

	if (retry != RETRY_NOT) {
		try_again(slice, retry);
		return;
	}
	slice->resolved = true;
	request_release(slice->request);
}

/* --- Sending slices --- */

void
request_hold(struct inference_request *request)
{
	request->state->unresolved++;
}

void
request_release(struct inference_request *request)
{
	if (--request->state->unresolved == 0) {
		request_finish(request);
	}
}

void
request_send(struct inference_request *request, struct slice *const *slices, size_t count, struct fetch_mode mode)
{
	for (size_t i = 0; i < count; i++) {
		slices[i]->done = on_slice_done;
	}
	request_hold(request);
	fetch_start(request->state->lane, slices, count, mode);
	request_release(request);
}
