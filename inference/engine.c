#include "inference/engine.h"

#include "base/clock.h"
#include "base/memory.h"
#include "inference/cache_host.h"
#include "inference/entry.h"
#include "inference/flight.h"
#include "inference/key.h"
#include "inference/validate.h"

#include <stdlib.h>

#define SCRATCH_MAX ((size_t)256 << 20)

struct engine {
	struct response_cache *cache;
	struct flight_table flights;
};

struct engine_lane {
	struct engine *engine;
	struct loop *loop;
	size_t index;
	struct response_cache *cache; /* NULL: none */
	struct cache_lane *store;
	struct cache_host host;
	struct digest *digest;
	struct digest_secret shared_secret; /* derived from the one that the store keeps */
	uint64_t shared_generation;
	struct buf scratch;
	TAILQ_HEAD(, flight) looking; /* by deadline: all look-ups may take equally long */
	struct loop_timer *deadline_timer;
	size_t underway; /* flights, and requests that wait for another lane's */
	void (*drained)(void *argument);
	void *drained_argument;
};

static void start_run(struct flight *flight);

/* --- Statistics --- */

static struct model_statistics *
begin(struct engine_lane *lane, struct model *model)
{
	return statistics_begin(model->statistics, lane->index);
}

static void
end(struct engine_lane *lane, struct model *model)
{
	statistics_end(model->statistics, lane->index);
}

static enum failure_reason
failure_reason(enum status status)
{
	switch (status) {
	case STATUS_UNAVAILABLE:
		return FAILURE_REJECTED;
	case STATUS_CANCELLED:
		return FAILURE_CANCELED;
	case STATUS_INTERNAL:
		return FAILURE_BACKEND;
	default:
		return FAILURE_OTHER;
	}
}

/* What every answered request counts, whoever found its answer. */
static void
count_answer(struct model_statistics *sums, const struct inference_request *request, uint64_t now)
{
	if (request->status == STATUS_OK) {
		duration_add(&sums->success, now - request->start_ns);
	} else {
		duration_add(&sums->fail, now - request->start_ns);
		sums->failures[failure_reason(request->status)]++;
	}
	if (request->outcome == REQUEST_HIT) {
		duration_add(&sums->queue, request->keyed_ns - request->start_ns);
		duration_add(&sums->cache_hit, now - request->keyed_ns);
		sums->saved_ns += entry_cost_us(request->entry) * 1000;
	} else if (request->outcome == REQUEST_JOINED) {
		sums->cache_joined++;
		if (request->status == STATUS_OK) {
			duration_add(&sums->queue, now - request->start_ns);
			sums->saved_ns += entry_cost_us(request->entry) * 1000;
		}
	}
}

static void
count_run(struct flight *flight, struct model_statistics *sums)
{
	const struct job *job = &flight->job;
	size_t rows = job->batch > 0 ? (size_t)job->batch : 1;
	struct batch_statistic run = {
		.compute_input = {1, job->infer_start_ns - job->started_ns},
		.compute_infer = {1, job->infer_end_ns - job->infer_start_ns},
		.compute_output = {1, job->finished_ns - job->infer_end_ns},
	};

	sums->inference_count += rows;
	sums->execution_count++;
	sums->last_inference_ms = clock_wall_ms();
	duration_add(&sums->queue, job->started_ns - job->queued_ns);
	duration_add(&sums->compute_input, run.compute_input.ns);
	duration_add(&sums->compute_infer, run.compute_infer.ns);
	duration_add(&sums->compute_output, run.compute_output.ns);
	statistics_add_batch(flight->model->statistics, flight->lane->index, rows, &run);
}

/* --- Answering --- */

static void
one_less_underway(struct engine_lane *lane)
{
	if (--lane->underway == 0 && lane->drained != NULL) {
		lane->drained(lane->drained_argument);
	}
}

static void
release_if_over(struct flight *flight)
{
	struct engine_lane *lane = flight->lane;

	if (flight->state != FLIGHT_ANSWERED || flight->lookup_pending || flight->job_pending ||
	    flight->insert_pending || flight->starting) {
		return;
	}
	flight_free(flight);
	one_less_underway(lane);
}

static void
give_answer(struct inference_request *request, const struct flight *flight, enum request_outcome outcome)
{
	request->status = flight->status;
	request->outcome = outcome;
	if (flight->status == STATUS_OK) {
		request->entry = blob_ref(flight->entry);
	} else {
		request->error = flight->job.error;
		if (flight->refused) {
			struct bytes id = request->id.length > 0 ? request->id : bytes_text("<id_unknown>");

			(void)error_prefix(&request->error, "[request id: %.*s] ", BYTES_ARGS(id));
		}
	}
}

/* A joined request's answer reaches it on its own loop. */
static void
deliver(struct loop_mail *mail)
{
	struct inference_request *request =
		(struct inference_request *)((char *)mail - offsetof(struct inference_request, mail));
	struct engine_lane *lane = request->lane;
	struct model *model = request->model;

	count_answer(begin(lane, model), request, clock_now_ns());
	end(lane, model);
	request->done(request);
	model_unref(model);
	one_less_underway(lane);
}

static void
count_leader(struct flight *flight, struct inference_request *leader)
{
	struct model_statistics *sums = begin(flight->lane, flight->model);

	count_answer(sums, leader, clock_now_ns());
	/* In this order: until its mail has come the job is the worker's. */
	if (flight->outcome == REQUEST_RAN && flight->status == STATUS_OK && flight->job.ran) {
		count_run(flight, sums);
	}
	if (flight->keyed && flight->outcome == REQUEST_RAN) {
		duration_add(&sums->cache_miss, flight->lookup_ns);
	}
	end(flight->lane, flight->model);
}

static void
count_insert(struct flight *flight)
{
	begin(flight->lane, flight->model)->cache_miss.ns += flight->insert_ns;
	end(flight->lane, flight->model);
}

/* Makes the answer known to those who join from now on, and takes those who wait. */
static void
publish(struct flight *flight, struct request_list *waiting)
{
	struct flight_shard *shard = NULL;

	if (flight->keyed) {
		shard = flight_shard_lock(&flight->lane->engine->flights, &flight->key.digest);
	}
	flight->state = FLIGHT_ANSWERED;
	flight->answered = true;
	TAILQ_INIT(waiting);
	TAILQ_CONCAT(waiting, &flight->waiting, waiting);
	/* A failure is for those who waited; the next asker runs again. A hit needs no storing. */
	if (flight->status != STATUS_OK || flight->outcome != REQUEST_RAN) {
		flight_leave(flight);
	}
	if (shard != NULL) {
		flight_shard_unlock(shard);
	}
}

static void
on_inserted(struct cache_insert *insert)
{
	struct flight *flight = (struct flight *)((char *)insert - offsetof(struct flight, insert));
	struct flight_shard *shard = flight_shard_lock(&flight->lane->engine->flights, &flight->key.digest);

	flight_leave(flight);
	flight_shard_unlock(shard);
	flight->insert_pending = false;
	release_if_over(flight);
}

/* Write-behind: the answer is on its way already. Until it is stored, equal requests find it in the flight. */
static void
store_answer(struct flight *flight)
{
	struct response_cache *cache = flight->lane->cache;
	uint64_t start = clock_now_ns();
	bool stored;

	flight->insert = (struct cache_insert){.key = &flight->key,
					       .value = flight->entry,
					       .ttl_ms = (uint64_t)cache->settings.ttl_s * 1000,
					       .done = on_inserted};
	flight->insert_pending = true;
	stored = cache->ops->insert(flight->lane->store, &flight->insert);
	flight->insert_ns = clock_now_ns() - start;
	count_insert(flight);
	if (stored) {
		on_inserted(&flight->insert);
	}
}

/* The flight has its answer (status, and entry or job.error): to everybody who waits, then into the cache. */
static void
answer(struct flight *flight, enum request_outcome outcome)
{
	struct inference_request *leader = flight->leader;
	struct request_list waiting;
	struct inference_request *request;
	bool store;

	flight->outcome = outcome;
	publish(flight, &waiting);
	flight->leader = NULL;
	give_answer(leader, flight, outcome);
	count_leader(flight, leader);
	while ((request = TAILQ_FIRST(&waiting)) != NULL) {
		TAILQ_REMOVE(&waiting, request, waiting);
		if (request != leader) {
			give_answer(request, flight, REQUEST_JOINED);
			request->mail.deliver = deliver;
			loop_post(request->lane->loop, &request->mail);
		}
	}
	store = flight->keyed && flight->status == STATUS_OK && outcome == REQUEST_RAN;
	/* A leader that is still inside engine_infer learns it from the return value. */
	if (!flight->starting) {
		leader->done(leader);
	}
	if (store) {
		store_answer(flight);
	} else {
		release_if_over(flight);
	}
}

static void
fail(struct flight *flight)
{
	flight->status = flight->job.error.status;
	answer(flight, REQUEST_RAN);
}

/* --- Running --- */

static void
on_job_mail(struct loop_mail *mail)
{
	struct flight *flight = (struct flight *)((char *)mail - offsetof(struct flight, mail));

	flight->job_pending = false;
	if (flight->state == FLIGHT_ANSWERED) { /* a late look-up was faster */
		blob_unref(flight->job.entry);
		release_if_over(flight);
		return;
	}
	flight->status = flight->job.status;
	flight->entry = flight->job.entry;
	if (flight->status == STATUS_OK) {
		answer(flight, REQUEST_RAN);
	} else {
		fail(flight);
	}
}

static void
on_job_finished(struct job *job)
{
	struct flight *flight = (struct flight *)job;

	flight->mail.deliver = on_job_mail;
	loop_post(flight->lane->loop, &flight->mail);
}

static void
start_run(struct flight *flight)
{
	flight->state = FLIGHT_RUNNING;
	if (!flight_fill_job(flight)) {
		(void)error_set(&flight->job.error, STATUS_UNAVAILABLE, "no memory for the request's tensors");
		fail(flight);
		return;
	}
	flight->job.finished = on_job_finished;
	flight->job_pending = true;
	if (!scheduler_submit(flight->model->scheduler, &flight->job)) {
		flight->job_pending = false;
		flight->refused = true;
		(void)error_set(&flight->job.error, STATUS_UNAVAILABLE, "Exceeds maximum queue size");
		fail(flight);
	}
}

/* --- Looking up --- */

static bool
fits_model(const struct model *model, const struct blob *value)
{
	if (entry_output_count(value) != model->config.output_count) {
		return false;
	}
	for (size_t i = 0; i < model->config.output_count; i++) {
		struct tensor output = entry_output(value, i);

		if (!bytes_equal(output.name, model->config.outputs[i].name) ||
		    output.datatype != model->config.outputs[i].datatype) {
			return false;
		}
	}
	return true;
}

/* A value from outside: is it an entry, the answer to this very key, of this model's outputs? */
static bool
usable(const struct flight *flight, const struct blob *value)
{
	const struct engine_lane *lane = flight->lane;

	if (!lane->cache->ops->foreign) {
		return true;
	}
	if (!entry_valid(blob_bytes(value))) {
		return false;
	}
	if (!entry_answers(value, &flight->key.digest)) {
		lane->cache->ops->distrust(lane->store);
		return false;
	}
	return fits_model(flight->model, value);
}

/* What a look-up of this flight found: the entry, or NULL. Damaged and foreign values count as misses. */
static struct blob *
take_value(struct flight *flight)
{
	struct engine_lane *lane = flight->lane;
	struct blob *value = flight->value;
	bool corrupt = value != NULL && !usable(flight, value);

	flight->value = NULL;
	if (corrupt || flight->lookup.failed) {
		struct model_statistics *sums = begin(lane, flight->model);

		sums->cache_corrupt += corrupt;
		sums->cache_errors += flight->lookup.failed;
		end(lane, flight->model);
	}
	if (corrupt) {
		blob_unref(value);
		return NULL;
	}
	return value;
}

static void
stop_waiting(struct flight *flight)
{
	TAILQ_REMOVE(&flight->lane->looking, flight, deadline);
	flight->lookup_ns = clock_now_ns() - flight->leader->keyed_ns;
}

static void
on_lookup(struct cache_lookup *lookup)
{
	struct flight *flight = (struct flight *)((char *)lookup - offsetof(struct flight, lookup));
	struct blob *value = take_value(flight);

	flight->lookup_pending = false;
	if (flight->state == FLIGHT_LOOKING) {
		stop_waiting(flight);
	}
	if (flight->state == FLIGHT_ANSWERED) {
		blob_unref(value);
		release_if_over(flight);
	} else if (value != NULL) {
		atomic_store(&flight->job.cancelled, true);
		flight->entry = value;
		flight->status = STATUS_OK;
		answer(flight, REQUEST_HIT);
	} else if (flight->state == FLIGHT_LOOKING) {
		start_run(flight);
	}
}

static void
arm_deadline(struct engine_lane *lane)
{
	const struct flight *first = TAILQ_FIRST(&lane->looking);
	uint64_t now = clock_now_ns();

	if (first != NULL) {
		loop_timer_set(lane->deadline_timer,
			       first->deadline_ns <= now ? 0 : (first->deadline_ns - now) / 1000000 + 1);
	}
}

static void
on_deadline(void *argument)
{
	struct engine_lane *lane = argument;
	uint64_t now = clock_now_ns();
	struct flight *flight;

	while ((flight = TAILQ_FIRST(&lane->looking)) != NULL && flight->deadline_ns <= now) {
		stop_waiting(flight);
		start_run(flight);
	}
	arm_deadline(lane);
}

static void
start_lookup(struct flight *flight)
{
	struct engine_lane *lane = flight->lane;
	bool first = TAILQ_EMPTY(&lane->looking);
	struct blob *value;

	/* An immediate store has been asked already; again, because the flight before this one may have ended since. */
	flight->lookup = (struct cache_lookup){.keys = &flight->key,
					       .count = 1,
					       .values = &flight->value,
					       .repeated = lane->cache->ops->immediate,
					       .done = on_lookup};
	if (!lane->cache->ops->lookup(lane->store, &flight->lookup)) {
		flight->lookup_pending = true;
		flight->state = FLIGHT_LOOKING;
		flight->deadline_ns = clock_now_ns() + (uint64_t)lane->cache->settings.lookup_timeout_ms * 1000000;
		TAILQ_INSERT_TAIL(&lane->looking, flight, deadline);
		if (first) {
			arm_deadline(lane);
		}
		return;
	}
	value = take_value(flight);
	flight->lookup_ns = clock_now_ns() - flight->leader->keyed_ns;
	if (value == NULL) {
		start_run(flight);
		return;
	}
	flight->entry = value;
	flight->status = STATUS_OK;
	answer(flight, REQUEST_HIT);
}

/* --- Requests --- */

/* The secret that keys are made under, or NULL while a store that keeps it has not told it yet. */
static const struct digest_secret *
current_secret(struct engine_lane *lane)
{
	const struct cache_secret *shared;

	if (lane->cache->has_secret) {
		return &lane->cache->secret;
	}
	shared = lane->cache->ops->secret(lane->store);
	if (shared == NULL) {
		return NULL;
	}
	if (shared->generation != lane->shared_generation) {
		digest_secret_init(&lane->shared_secret, bytes_make(shared->bytes, sizeof(shared->bytes)));
		lane->shared_generation = shared->generation;
	}
	return &lane->shared_secret;
}

static bool
make_key(struct engine_lane *lane, const struct inference_request *request, const struct tensor *const *ordered,
	 struct cache_key *key)
{
	const struct model *model = request->model;
	const struct digest_secret *secret = current_secret(lane);
	const struct tensor **sorted =
		arena_array(request->arena, model->config.input_count, sizeof(const struct tensor *));

	if (secret == NULL || sorted == NULL) {
		return false;
	}
	for (size_t i = 0; i < model->config.input_count; i++) {
		sorted[i] = ordered[model->inputs_by_name[i]];
	}
	key->scope = bytes_text(model->scope);
	return key_digest(lane->digest, secret, buf_bytes(&model->key_prefix), sorted, model->config.input_count,
			  request->parameters, request->parameter_count, &lane->scratch, &key->digest);
}

/* A store that answers at once is asked before anything is allocated: this is the path of a hit. */
static bool
answer_at_once(struct engine_lane *lane, struct inference_request *request, const struct cache_key *key)
{
	struct blob *value = NULL;
	struct cache_lookup lookup = {.keys = key, .count = 1, .values = &value};

	if (!lane->cache->ops->immediate || !lane->cache->ops->lookup(lane->store, &lookup) || value == NULL) {
		return false;
	}
	request->status = STATUS_OK;
	request->entry = value;
	request->outcome = REQUEST_HIT;
	count_answer(begin(lane, request->model), request, clock_now_ns());
	end(lane, request->model);
	return true;
}

/* Joins a flight with this flight's key, or enters this one into the table. */
enum joining { JOINING_LEADS, JOINING_WAITS, JOINING_ANSWERED };

static enum joining
join_or_lead(struct flight *flight, struct inference_request *request)
{
	struct engine_lane *lane = flight->lane;
	struct flight_shard *shard = flight_shard_lock(&lane->engine->flights, &flight->key.digest);
	struct flight *other = flight_find(shard, &flight->key.digest);
	enum joining joining = JOINING_LEADS;

	if (other == NULL) {
		flight_enter(shard, flight);
	} else if (other->answered) {
		give_answer(request, other, REQUEST_HIT);
		joining = JOINING_ANSWERED;
	} else {
		TAILQ_INSERT_TAIL(&other->waiting, request, waiting);
		(void)model_ref(request->model); /* until deliver */
		lane->underway++;
		joining = JOINING_WAITS;
	}
	flight_shard_unlock(shard);
	if (joining == JOINING_ANSWERED) {
		count_answer(begin(lane, request->model), request, clock_now_ns());
		end(lane, request->model);
	}
	return joining;
}

static struct flight *
new_flight(struct engine_lane *lane, struct inference_request *request, const struct cache_key *key)
{
	struct flight *flight = flight_new(lane, request->model);

	lane->underway++;
	flight->leader = request;
	flight->starting = true;
	if (key != NULL) {
		flight->keyed = true;
		flight->key = *key;
		flight->key.scope = bytes_text(flight->model->scope);
		flight->job.key = &flight->key.digest;
	}
	return flight;
}

static void
drop_flight(struct flight *flight)
{
	flight->state = FLIGHT_ANSWERED;
	flight->starting = false;
	release_if_over(flight);
}

/* Leads a flight, or joins one. True: answered. */
static bool
fly(struct engine_lane *lane, struct inference_request *request, const struct cache_key *key,
    const struct tensor *const *ordered, int64_t batch)
{
	struct flight *flight = new_flight(lane, request, key);
	enum joining joining = key == NULL ? JOINING_LEADS : join_or_lead(flight, request);
	bool answered;

	if (joining != JOINING_LEADS) {
		drop_flight(flight);
		return joining == JOINING_ANSWERED;
	}
	flight->ordered = ordered;
	flight->job.batch = batch;
	if (flight->keyed) {
		start_lookup(flight);
	} else {
		start_run(flight);
	}
	answered = flight->state == FLIGHT_ANSWERED;
	flight->starting = false;
	release_if_over(flight);
	return answered;
}

bool
engine_infer(struct engine_lane *lane, struct inference_request *request)
{
	struct model *model = request->model;
	const struct tensor **ordered =
		arena_array(request->arena, model->config.input_count, sizeof(const struct tensor *));
	bool caching = lane->cache != NULL && model->config.response_cache;
	struct cache_key key;
	bool keyed = false;
	int64_t batch = 0;

	request->lane = lane;
	request->entry = NULL;
	request->outcome = REQUEST_RAN;
	request->start_ns = clock_now_ns();
	request->status = ordered == NULL ? error_set(&request->error, STATUS_UNAVAILABLE, "no memory for the request")
					  : validate_request(&model->config, request, ordered, &batch, &request->error);
	if (request->status != STATUS_OK) {
		return true;
	}
	if (caching) {
		struct model_statistics *sums;

		keyed = make_key(lane, request, ordered, &key);
		sums = begin(lane, model);
		sums->cache_lookups++;
		sums->cache_errors += !keyed;
		end(lane, model);
	}
	request->keyed_ns = clock_now_ns();
	if (keyed && answer_at_once(lane, request, &key)) {
		return true;
	}
	return fly(lane, request, keyed ? &key : NULL, ordered, batch);
}

/* --- Lanes --- */

struct engine *
engine_new(struct response_cache *cache)
{
	struct engine *engine = aligned_alloc(_Alignof(struct engine), sizeof(*engine));

	if (engine == NULL) {
		abort();
	}
	engine->cache = cache;
	flight_table_init(&engine->flights);
	return engine;
}

void
engine_free(struct engine *engine)
{
	flight_table_fini(&engine->flights);
	free(engine);
}

struct engine_lane *
engine_lane_new(struct engine *engine, struct loop *loop, size_t index)
{
	struct engine_lane *lane = memory_new(sizeof(*lane));

	lane->engine = engine;
	lane->loop = loop;
	lane->index = index;
	TAILQ_INIT(&lane->looking);
	lane->deadline_timer = loop_timer_new(loop, on_deadline, lane);
	cache_host_init(&lane->host, loop);
	if (engine->cache != NULL) {
		lane->store = engine->cache->ops->attach(engine->cache->store, &lane->host);
		lane->digest = digest_new((enum digest_kind)engine->cache->settings.key_hash);
		buf_init(&lane->scratch, SCRATCH_MAX);
		/* Without memory for these the loop serves uncached. */
		lane->cache = lane->store != NULL && lane->digest != NULL ? engine->cache : NULL;
	}
	return lane;
}

void
engine_lane_drain(struct engine_lane *lane, void (*done)(void *argument), void *argument)
{
	lane->drained = done;
	lane->drained_argument = argument;
	if (lane->underway == 0) {
		done(argument);
	}
}

void
engine_lane_free(struct engine_lane *lane)
{
	if (lane->store != NULL) {
		lane->engine->cache->ops->detach(lane->store);
	}
	digest_free(lane->digest);
	buf_fini(&lane->scratch);
	loop_timer_free(lane->deadline_timer);
	free(lane);
}
