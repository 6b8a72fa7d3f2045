/*
 * Tests of the engine over a fake store, executor and clock: which requests run once, wait, or run again, and which
 * answers must never be given out.
 */
#include "inference/engine.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/unit_test.h"
#include "inference/cache/entry.h"
#include "inference/cache/key.h"
#include "inference/engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define JOBS_MAX 16
#define ROWS_MAX 4
#define LOOKUP_TIMEOUT_MS 10

/* --- The clock of this program, turned by the tests only --- */

static uint64_t now_ns = UINT64_C(1000000000000);

int
clock_gettime(clockid_t id, struct timespec *time)
{
	uint64_t ns = id == CLOCK_REALTIME ? now_ns + UINT64_C(1700000000000000000) : now_ns;

	*time = (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
	return 0;
}

/* --- The store --- */

struct kept {
	struct digest_value key;
	struct blob *value;
};

static struct {
	struct kept kept[64];
	size_t count;
	bool slow; /* look-ups are answered by answer_lookups */
	struct cache_lookup *asked[8];
	size_t asked_count;
	size_t lookups;
	size_t inserts;
	enum cache_lease_result lease;
	size_t released;
} store;

static struct blob *
find(const struct cache_key *key)
{
	for (size_t i = 0; i < store.count; i++) {
		if (memcmp(&store.kept[i].key, &key->digest, sizeof(key->digest)) == 0) {
			return blob_ref(store.kept[i].value);
		}
	}
	return NULL;
}

static void
put(const struct digest_value *key, struct blob *value)
{
	for (size_t i = 0; i < store.count; i++) {
		if (memcmp(&store.kept[i].key, key, sizeof(*key)) == 0) {
			blob_unref(store.kept[i].value);
			store.kept[i].value = blob_ref(value);
			return;
		}
	}
	store.kept[store.count++] = (struct kept){.key = *key, .value = blob_ref(value)};
}

static void
empty_store(void)
{
	while (store.count > 0) {
		blob_unref(store.kept[--store.count].value);
	}
}

static void
fill_lookup(struct cache_lookup *lookup)
{
	for (size_t i = 0; i < lookup->count; i++) {
		lookup->values[i] = find(&lookup->keys[i]);
	}
}

static bool
store_lookup(struct cache_lane *lane, struct cache_lookup *lookup)
{
	(void)lane;
	store.lookups++;
	if (store.slow) {
		store.asked[store.asked_count++] = lookup;
		return false;
	}
	fill_lookup(lookup);
	return true;
}

static void
answer_lookups(void)
{
	while (store.asked_count > 0) {
		struct cache_lookup *lookup = store.asked[--store.asked_count];

		fill_lookup(lookup);
		lookup->done(lookup);
	}
}

static bool
store_insert(struct cache_lane *lane, struct cache_insert *insert)
{
	(void)lane;
	store.inserts++;
	put(&insert->key->digest, insert->value);
	return true;
}

static bool
store_purge(struct cache_lane *lane, struct cache_purge *purge)
{
	(void)lane;
	purge->removed = store.count;
	empty_store();
	return true;
}

static bool
store_lease(struct cache_lane *lane, struct cache_lease *lease)
{
	(void)lane;
	lease->result = store.lease;
	return true;
}

static void
store_release(struct cache_lane *lane, const struct cache_key *key)
{
	(void)lane;
	(void)key;
	store.released++;
}

static struct cache_lane *
store_attach(struct cache *cache, const struct cache_host *host)
{
	(void)cache;
	(void)host;
	return (struct cache_lane *)&store;
}

static void
store_detach(struct cache_lane *lane)
{
	(void)lane;
}

static const struct cache_ops store_ops = {
	.name = "fake",
	.untrusted = true,
	.attach = store_attach,
	.detach = store_detach,
	.lookup = store_lookup,
	.insert = store_insert,
	.purge = store_purge,
	.lease = store_lease,
	.release = store_release,
};

/* --- The executor: jobs wait until a test finishes them --- */

static struct {
	struct job *jobs[JOBS_MAX];
	size_t count;
	size_t withdrawn;
	bool full;
	int32_t added; /* added to twice the input, to tell runs apart */
} executor;

static bool
executor_submit(struct model *model, struct job *job, const struct job_origin *origin)
{
	(void)model;
	(void)origin;
	if (executor.full) {
		return false;
	}
	executor.jobs[executor.count++] = job;
	return true;
}

static void
executor_withdraw(struct model *model, struct job *job)
{
	(void)model;
	(void)job;
	executor.withdrawn++;
}

static const struct executor_ops fake_executor = {.submit = executor_submit, .withdraw = executor_withdraw};

static struct blob *
compute(const struct job *job, const struct job_part *part)
{
	int64_t shape[] = {part->rows, 1};
	struct entry_shape output = {.name = bytes_text("y"),
				     .datatype = DATATYPE_INT32,
				     .rank = 2,
				     .shape = shape,
				     .length = (size_t)part->rows * sizeof(int32_t)};
	struct keyed_hash *mac = job->entry_key == NULL ? NULL : keyed_hash_new(job->entry_hash, job->entry_key);
	uint8_t *data;
	struct blob *entry = entry_new(&output, 1, &data);

	for (int64_t i = 0; i < part->rows; i++) {
		int32_t x;

		memcpy(&x, part->data[0].at + (size_t)i * sizeof(x), sizeof(x));
		x = 2 * x + executor.added;
		memcpy(data + (size_t)i * sizeof(x), &x, sizeof(x));
	}
	entry_seal(entry, part->key,
		   &(struct freshness_entry){.created_ms = clock_wall_ms(), .lifetime_ms = part->lifetime_ms});
	if (mac != NULL) {
		assert_true(entry_authenticate(entry, mac));
		keyed_hash_free(mac);
	}
	return entry;
}

/* Finishes the job that was submitted as number `index`. */
static void
finish(size_t index, enum status status)
{
	struct job *job = executor.jobs[index];

	assert_true(index < executor.count);
	job->status = status;
	job->ran = status != STATUS_CANCELLED;
	job->withdrawn = status == STATUS_CANCELLED;
	if (status != STATUS_OK) {
		(void)error_set(job->error, status, "the model fails");
	}
	for (size_t i = 0; i < job->part_count && status == STATUS_OK; i++) {
		job->parts[i].entry = compute(job, &job->parts[i]);
	}
	job->finished(job);
}

/* --- The engine, and a model that it serves --- */

static struct {
	struct loop *loop;
	struct response_cache cache;
	struct engine *engine;
	struct engine_lane *lane;
	struct model model;
	struct model_tensor input;
	struct model_tensor output;
	int64_t dim;
	size_t order;
} this;

static void
on_stop(struct loop_mail *mail)
{
	(void)mail;
	loop_stop(this.loop);
}

/* Runs the loop several times, since what it delivers may post more. */
static void
settle(void)
{
	for (int i = 0; i < 6; i++) {
		struct loop_mail mail = {.deliver = on_stop};

		loop_post(this.loop, &mail);
		loop_run(this.loop);
	}
}

static void
pass(uint64_t ms)
{
	now_ns += ms * NS_PER_MS;
	settle();
}

static void
unused(struct model *model, void *context)
{
	(void)model;
	(void)context;
}

static void
make_model(void)
{
	struct model *model = &this.model;
	struct digest_value fingerprint = {.length = 32};

	this.dim = 1;
	this.input = (struct model_tensor){
		.name = bytes_text("x"), .datatype = DATATYPE_INT32, .dims = {.rank = 1, .dims = &this.dim}};
	this.output = this.input;
	this.output.name = bytes_text("y");
	*model = (struct model){.version = 1, .unused = unused, .inputs_by_name = &this.order};
	atomic_init(&model->references, 1);
	model->config = (struct model_config){.name = bytes_text("m"),
					      .max_batch_size = ROWS_MAX,
					      .inputs = &this.input,
					      .input_count = 1,
					      .outputs = &this.output,
					      .output_count = 1,
					      .response_cache = true};
	(void)snprintf(model->scope, sizeof(model->scope), "m:1:00000000");
	buf_init(&model->key_prefix, 64);
	assert_true(key_write_prefix(&model->key_prefix, KEYED_HASH_GHASH, bytes_text(""), model->config.name, 1,
				     &fingerprint));
	model->row_record = row_record_get(buf_bytes(&model->key_prefix));
	row_trust_init(&model->rows, ROWS_STATED, 0, 0);
	model->statistics = statistics_new(ROWS_MAX);
}

static int
setup(void **state)
{
	struct error error;

	(void)state;
	memset(&store, 0, sizeof(store));
	memset(&executor, 0, sizeof(executor));
	this.loop = loop_new(&error);
	this.cache = (struct response_cache){
		.ops = &store_ops, .settings = {.lookup_timeout_ms = LOOKUP_TIMEOUT_MS}, .has_secret = true};
	response_cache_keys_derive(&this.cache.keys, KEYED_HASH_GHASH, bytes_text("a secret"));
	purge_marks_init(&this.cache.purges);
	this.engine = engine_new(&this.cache);
	this.lane = engine_lane_new(this.engine, this.loop, NULL, 0);
	this.lane->models = &fake_executor;
	make_model();
	return 0;
}

static void
on_drained(void *argument)
{
	*(bool *)argument = true;
}

/* Nothing may be left under way after a test. */
static int
teardown(void **state)
{
	bool drained = false;

	(void)state;
	engine_lane_drain(this.lane, on_drained, &drained);
	settle();
	assert_true(drained);
	assert_int_equal(atomic_load(&this.model.references), 1);
	engine_lane_free(this.lane);
	engine_free(this.engine);
	purge_marks_fini(&this.cache.purges);
	statistics_free(this.model.statistics);
	row_record_put(this.model.row_record);
	buf_fini(&this.model.key_prefix);
	empty_store();
	loop_free(this.loop);
	return 0;
}

/* --- Requests --- */

struct asker {
	struct inference_request request; /* first */
	struct arena arena;
	struct error error;
	struct tensor input;
	int64_t shape[2];
	int32_t values[ROWS_MAX];
	bool done;
};

static void
on_done(struct inference_request *request)
{
	((struct asker *)request)->done = true;
}

static void
fill(struct asker *asker, const struct cache_directives *directives, size_t count, const int32_t *values)
{
	*asker = (struct asker){.shape = {(int64_t)count, 1}};
	arena_init(&asker->arena, 1 << 20);
	memcpy(asker->values, values, count * sizeof(*values));
	asker->input = (struct tensor){.name = bytes_text("x"),
				       .datatype = DATATYPE_INT32,
				       .rank = 2,
				       .shape = asker->shape,
				       .data = bytes_make(asker->values, count * sizeof(*values))};
	asker->request = (struct inference_request){.model = &this.model,
						    .inputs = &asker->input,
						    .input_count = 1,
						    .directives = *directives,
						    .arena = &asker->arena,
						    .done = on_done,
						    .error = &asker->error};
}

static void
ask_with(struct asker *asker, const struct cache_directives *directives, size_t count, const int32_t *values)
{
	fill(asker, directives, count, values);
	asker->done = engine_infer(this.lane, &asker->request);
}

static const struct cache_directives no_wish;

#define ASK(asker, ...)                                                                                                \
	ask_with((asker), &no_wish, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (int32_t[]){__VA_ARGS__})

static void
forget(struct asker *asker)
{
	assert_true(asker->done);
	if (asker->request.status == STATUS_OK) {
		blob_unref(asker->request.entry);
	}
	arena_fini(&asker->arena);
}

/* Each output must be twice its input, plus `added`. */
static void
assert_answered(struct asker *asker, int32_t added)
{
	struct tensor output;

	assert_true(asker->done);
	assert_int_equal(asker->request.status, STATUS_OK);
	output = entry_output(asker->request.entry, 0);
	assert_int_equal(output.data.length, (size_t)asker->shape[0] * sizeof(int32_t));
	for (int64_t i = 0; i < asker->shape[0]; i++) {
		int32_t y;

		memcpy(&y, output.data.at + (size_t)i * sizeof(y), sizeof(y));
		assert_int_equal(y, 2 * asker->values[i] + added);
	}
	forget(asker);
}

static void
assert_failed(struct asker *asker, enum status status)
{
	assert_true(asker->done);
	assert_int_equal(asker->request.status, status);
	forget(asker);
}

/* Asks for these values, so that the store has their answers. */
#define STORE(...)                                                                                                     \
	do {                                                                                                           \
		struct asker first_;                                                                                   \
		ASK(&first_, __VA_ARGS__);                                                                             \
		finish(executor.count - 1, STATUS_OK);                                                                 \
		settle();                                                                                              \
		assert_answered(&first_, executor.added);                                                              \
		executor.count = 0;                                                                                    \
	} while (0)

/* --- Hits, and requests under way --- */

static void
test_what_is_known_does_not_run(void **state)
{
	struct asker asker;

	(void)state;
	STORE(7);
	assert_int_equal(store.inserts, 1);
	executor.added = 100;
	ASK(&asker, 7);
	assert_int_equal(asker.request.report.forward, FORWARD_NONE);
	assert_answered(&asker, 0);
	ASK(&asker, 8);
	assert_false(asker.done);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&asker, 100);
}

static void
test_equal_questions_run_once(void **state)
{
	struct asker askers[3];
	struct asker other;

	(void)state;
	for (int i = 0; i < 3; i++) {
		ASK(&askers[i], 7);
	}
	ASK(&other, 8);
	assert_int_equal(executor.count, 2);
	finish(0, STATUS_OK);
	settle();
	for (int i = 0; i < 3; i++) {
		assert_answered(&askers[i], 0);
	}
	assert_false(other.done);
	finish(1, STATUS_OK);
	settle();
	assert_answered(&other, 0);
}

static void
test_only_unknown_rows_run(void **state)
{
	struct asker asker;

	(void)state;
	STORE(1, 3);
	ASK(&asker, 1, 2, 3, 2);
	assert_int_equal(executor.count, 1);
	assert_int_equal(executor.jobs[0]->part_count, 1); /* the value 2, once */
	finish(0, STATUS_OK);
	settle();
	assert_int_equal(asker.request.report.forward, FORWARD_PARTIAL);
	assert_answered(&asker, 0);
}

static void
test_no_run_for_who_wants_none(void **state)
{
	struct asker asker;

	(void)state;
	ask_with(&asker, &(struct cache_directives){.only = true}, 1, (int32_t[]){7});
	assert_failed(&asker, STATUS_NOT_CACHED);
	assert_int_equal(executor.count, 0);
}

static void
test_a_full_queue(void **state)
{
	struct asker asker;

	(void)state;
	executor.full = true;
	ASK(&asker, 7);
	assert_failed(&asker, STATUS_UNAVAILABLE);
	assert_int_equal(store.inserts, 0);
}

static void
test_what_is_too_large_is_not_stored(void **state)
{
	struct asker asker;

	(void)state;
	this.cache.settings.max_value_bytes = 10;
	ASK(&asker, 7);
	finish(0, STATUS_OK);
	settle();
	assert_false(asker.request.report.stored);
	assert_answered(&asker, 0);
	assert_int_equal(store.inserts, 0);
}

/* --- Late look-ups --- */

static void
test_the_model_runs_when_the_store_is_late(void **state)
{
	struct asker asker;

	(void)state;
	store.slow = true;
	ASK(&asker, 7);
	pass(LOOKUP_TIMEOUT_MS - 1);
	assert_int_equal(executor.count, 0);
	pass(2);
	assert_int_equal(executor.count, 1);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&asker, 0);
	answer_lookups();
}

static void
test_a_late_answer_is_still_one(void **state)
{
	struct asker asker;

	(void)state;
	STORE(7);
	store.slow = true;
	executor.added = 100;
	ASK(&asker, 7);
	pass(LOOKUP_TIMEOUT_MS + 1);
	assert_int_equal(executor.count, 1);
	answer_lookups();
	assert_answered(&asker, 0);
	assert_int_equal(executor.withdrawn, 1);
	finish(0, STATUS_CANCELLED);
	settle();
}

/* --- Leases --- */

static void
share(enum cache_lease_result lease)
{
	this.cache.settings.coalesce = COALESCE_SHARED;
	atomic_store(&this.model.run_cost_ns, 40 * NS_PER_MS);
	atomic_store(&this.model.run_span_ns, 40 * NS_PER_MS);
	atomic_store(&this.model.lookup_cost_ns, NS_PER_MS);
	store.lease = lease;
}

static void
test_a_lease_is_released_once_the_answer_is_stored(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_GRANTED);
	ASK(&asker, 7);
	assert_int_equal(executor.count, 1);
	assert_int_equal(store.released, 0);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&asker, 0);
	assert_int_equal(store.inserts, 1);
	assert_int_equal(store.released, 1);
}

static void
test_the_holder_of_a_lease_dies(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_HELD);
	ASK(&asker, 8, 9);
	pass(20);
	assert_int_equal(executor.count, 0);
	pass(400); /* nobody stores anything */
	assert_int_equal(executor.count, 1);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&asker, 0);
}

static void
test_what_another_server_stored_is_taken(void **state)
{
	struct blob *value;
	struct digest_value key;
	struct asker asker;

	(void)state;
	STORE(7);
	key = store.kept[0].key;
	value = blob_ref(store.kept[0].value);
	empty_store();
	share(CACHE_LEASE_HELD);
	executor.added = 100;
	ASK(&asker, 7);
	assert_int_equal(executor.count, 0);
	put(&key, value);
	blob_unref(value);
	pass(60);
	assert_answered(&asker, 0);
	assert_int_equal(executor.count, 0);
}

/* --- Leaving --- */

static void
test_the_leader_leaves(void **state)
{
	struct asker leader;
	struct asker other;

	(void)state;
	ASK(&leader, 7);
	ASK(&other, 7);
	engine_cancel(&leader.request);
	assert_failed(&leader, STATUS_CANCELLED); /* and its tensors are gone */
	assert_int_equal(executor.withdrawn, 0);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&other, 0);
}

static void
test_the_leader_leaves_before_the_run(void **state)
{
	struct asker leader;
	struct asker other;

	(void)state;
	store.slow = true;
	ASK(&leader, 7);
	ASK(&other, 7);
	engine_cancel(&leader.request);
	memset(leader.values, 0xff, sizeof(leader.values));
	assert_failed(&leader, STATUS_CANCELLED);
	answer_lookups();
	assert_int_equal(executor.count, 1);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&other, 0);
}

static void
test_all_leave(void **state)
{
	struct asker askers[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		ASK(&askers[i], 7);
	}
	engine_cancel(&askers[1].request);
	assert_int_equal(executor.withdrawn, 0);
	engine_cancel(&askers[0].request);
	assert_int_equal(executor.withdrawn, 1);
	for (int i = 0; i < 2; i++) {
		assert_failed(&askers[i], STATUS_CANCELLED);
	}
	finish(0, STATUS_CANCELLED);
	settle();
	assert_int_equal(store.inserts, 0);
}

static void
test_who_joins_a_withdrawn_run_asks_again(void **state)
{
	struct asker leader;
	struct asker other;

	(void)state;
	ASK(&leader, 7);
	engine_cancel(&leader.request);
	assert_failed(&leader, STATUS_CANCELLED);
	ASK(&other, 7);
	assert_int_equal(executor.count, 1);
	finish(0, STATUS_CANCELLED);
	settle();
	assert_false(other.done);
	assert_int_equal(executor.count, 2);
	finish(1, STATUS_OK);
	settle();
	assert_answered(&other, 0);
}

/* --- Failures --- */

static void
test_a_failure_is_of_those_who_ran_together(void **state)
{
	struct asker leader;
	struct asker other;

	(void)state;
	ASK(&leader, 1, 2);
	ASK(&other, 2);
	finish(0, STATUS_INTERNAL);
	settle();
	assert_failed(&leader, STATUS_INTERNAL);
	assert_false(other.done); /* the other row may have been to blame */
	assert_int_equal(executor.count, 2);
	assert_true(executor.jobs[1]->unbatched);
	finish(1, STATUS_OK);
	settle();
	assert_answered(&other, 0);
}

static void
test_a_failure_is_not_stored(void **state)
{
	struct asker asker;

	(void)state;
	ASK(&asker, 7);
	finish(0, STATUS_INTERNAL);
	settle();
	assert_failed(&asker, STATUS_INTERNAL);
	assert_int_equal(store.inserts, 0);
	ASK(&asker, 7);
	assert_int_equal(executor.count, 2);
	finish(1, STATUS_OK);
	settle();
	assert_answered(&asker, 0);
}

/* --- Freshness --- */

static void
keep_for(uint64_t ttl_s, uint64_t revalidate_s, uint64_t on_error_s)
{
	this.model.freshness = (struct freshness_policy){
		.ttl_ms = ttl_s * 1000, .revalidate_ms = revalidate_s * 1000, .on_error_ms = on_error_s * 1000};
}

static void
test_what_has_expired_runs_again(void **state)
{
	struct asker asker;

	(void)state;
	keep_for(10, 0, 0);
	STORE(7);
	pass(8000);
	ASK(&asker, 7);
	assert_answered(&asker, 0);
	pass(4000);
	executor.added = 100;
	ASK(&asker, 7);
	assert_false(asker.done);
	finish(0, STATUS_OK);
	settle();
	assert_int_equal(asker.request.report.forward, FORWARD_STALE);
	assert_answered(&asker, 100);
}

static void
test_what_is_stale_serves_where_the_model_fails(void **state)
{
	struct asker asker;

	(void)state;
	keep_for(10, 0, 60);
	STORE(7);
	pass(30000);
	ASK(&asker, 7);
	assert_false(asker.done);
	finish(0, STATUS_INTERNAL);
	settle();
	assert_answered(&asker, 0);
	pass(60000); /* too old even for stale-if-error */
	executor.count = 0;
	ASK(&asker, 7);
	finish(0, STATUS_INTERNAL);
	settle();
	assert_failed(&asker, STATUS_INTERNAL);
}

static void
test_what_is_stale_is_renewed_behind_the_back(void **state)
{
	struct asker asker;

	(void)state;
	keep_for(10, 60, 0);
	STORE(7);
	pass(30000);
	executor.added = 100;
	ASK(&asker, 7);
	assert_answered(&asker, 0);
	assert_int_equal(executor.count, 1);
	finish(0, STATUS_OK);
	settle();
	ASK(&asker, 7);
	assert_answered(&asker, 100);
	assert_int_equal(executor.count, 1);
}

static void
test_an_age_that_will_not_do(void **state)
{
	const struct cache_directives wish = {.has_max_age = true, .max_age_s = 5};
	struct asker asker;
	struct asker joined;

	(void)state;
	STORE(7);
	pass(4000);
	ask_with(&asker, &wish, 1, (int32_t[]){7});
	assert_answered(&asker, 0);
	pass(4000);
	executor.added = 100;
	store.slow = true;
	ASK(&asker, 7);
	ask_with(&joined, &wish, 1, (int32_t[]){7});
	answer_lookups(); /* fresh enough for the first, but not for the one that joined it */
	assert_answered(&asker, 0);
	assert_false(joined.done);
	assert_int_equal(executor.count, 1);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&joined, 100);
}

/* --- Purges --- */

static void
test_what_is_purged_while_it_is_fetched(void **state)
{
	struct cache_purge purge = {.model = bytes_text("m")};
	struct asker asker;
	struct blob *value;
	struct digest_value key;

	(void)state;
	STORE(7);
	key = store.kept[0].key;
	value = blob_ref(store.kept[0].value);
	pass(5);
	assert_true(engine_purge(this.lane, &purge));
	assert_int_equal(purge.removed, 1);
	put(&key, value); /* the store lost the purge, or an insert was under way */
	blob_unref(value);
	executor.added = 100;
	ASK(&asker, 7);
	assert_false(asker.done);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&asker, 100);
	ASK(&asker, 7);
	assert_answered(&asker, 100);
}

/* --- Untrusted values --- */

static void
test_an_answer_to_another_question(void **state)
{
	struct asker asker;
	struct digest_value key;

	(void)state;
	STORE(7);
	STORE(8);
	key = store.kept[1].key;
	put(&key, store.kept[0].value);
	ASK(&asker, 8);
	assert_false(asker.done);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&asker, 0);
}

static void
test_a_damaged_entry(void **state)
{
	struct asker asker;
	struct blob *damaged;

	(void)state;
	STORE(7);
	damaged = blob_copy(blob_bytes(store.kept[0].value));
	damaged->data[damaged->length - 1] ^= 1;
	put(&store.kept[0].key, damaged);
	blob_unref(damaged);
	ASK(&asker, 7);
	assert_false(asker.done);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&asker, 0);
}

/* --- Dependent rows --- */

static void
test_trust_that_is_lost_meanwhile(void **state)
{
	struct asker asker;

	(void)state;
	STORE(1);
	ASK(&asker, 1, 2);
	model_lose_row_trust(&this.model, ROWS_DEPENDENT, "a test says so");
	finish(0, STATUS_OK);
	settle();
	assert_false(asker.done);
	executor.added = 100;
	assert_int_equal(executor.count, 2);
	assert_int_equal(executor.jobs[1]->part_count, 1); /* the whole request, by itself */
	assert_int_equal(executor.jobs[1]->rows, 2);
	finish(1, STATUS_OK);
	settle();
	assert_answered(&asker, 100);
}

static void
test_what_ran_before_the_loss_is_not_stored(void **state)
{
	struct asker asker;

	(void)state;
	ASK(&asker, 1);
	model_lose_row_trust(&this.model, ROWS_DEPENDENT, "a test says so");
	finish(0, STATUS_OK);
	settle();
	assert_int_equal(store.inserts, 0);
	finish(1, STATUS_OK); /* once more, as a whole */
	settle();
	assert_answered(&asker, 0);
}

/* --- Requests prepared on another thread --- */

static void
prepare(struct asker *asker, int32_t one, int32_t two)
{
	fill(asker, &no_wish, 2, (int32_t[]){one, two});
	engine_prepare_begin(this.lane, &asker->request);
	engine_prepare(&asker->request, true);
}

static void
test_prepared_requests(void **state)
{
	struct asker asker;

	(void)state;
	STORE(1, 2);
	prepare(&asker, 1, 2);
	executor.added = 100;
	asker.done = engine_infer(this.lane, &asker.request);
	assert_answered(&asker, 0);
}

/* Keys made before a loss would find entries stored before it. */
static void
test_losses_after_the_preparation(void **state)
{
	struct asker asker;

	(void)state;
	row_trust_init(&this.model.rows, ROWS_NOT_CACHED, 0, 0); /* whole requests, before and after */
	STORE(1, 2);
	prepare(&asker, 1, 2);
	executor.added = 100;
	row_record_lose(this.model.row_record, ROWS_DEPENDENT, 0);
	asker.done = engine_infer(this.lane, &asker.request);
	assert_false(asker.done);
	finish(0, STATUS_OK);
	settle();
	assert_answered(&asker, 100);
}

/* Row trust may be lost at any time; here the loss is not counted yet, so only the standing shows it. */
static void
test_trust_that_is_lost_after_the_preparation(void **state)
{
	struct asker askers[2];

	(void)state;
	for (int32_t i = 0; i < 2; i++) {
		prepare(&askers[i], 2 * i, 2 * i + 1);
	}
	assert_true(row_trust_lose(&this.model.rows, ROWS_DEPENDENT));
	for (int i = 0; i < 2; i++) {
		askers[i].done = engine_infer(this.lane, &askers[i].request);
	}
	assert_int_equal(executor.count, 2); /* two questions, each whole */
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(executor.jobs[i]->part_count, 1);
		finish(i, STATUS_OK);
	}
	settle();
	for (int i = 0; i < 2; i++) {
		assert_answered(&askers[i], 0);
	}
}

static void
test_a_preparation_that_came_to_nothing(void **state)
{
	struct asker asker;

	(void)state;
	fill(&asker, &no_wish, 2, (int32_t[]){1, 2});
	asker.shape[1] = 5;
	engine_prepare_begin(this.lane, &asker.request);
	engine_prepare(&asker.request, true);
	asker.done = engine_infer(this.lane, &asker.request);
	assert_failed(&asker, STATUS_INVALID_ARGUMENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_what_is_known_does_not_run),
		TEST(test_equal_questions_run_once),
		TEST(test_only_unknown_rows_run),
		TEST(test_no_run_for_who_wants_none),
		TEST(test_a_full_queue),
		TEST(test_what_is_too_large_is_not_stored),
		TEST(test_the_model_runs_when_the_store_is_late),
		TEST(test_a_late_answer_is_still_one),
		TEST(test_a_lease_is_released_once_the_answer_is_stored),
		TEST(test_the_holder_of_a_lease_dies),
		TEST(test_what_another_server_stored_is_taken),
		TEST(test_the_leader_leaves),
		TEST(test_the_leader_leaves_before_the_run),
		TEST(test_all_leave),
		TEST(test_who_joins_a_withdrawn_run_asks_again),
		TEST(test_a_failure_is_of_those_who_ran_together),
		TEST(test_a_failure_is_not_stored),
		TEST(test_what_has_expired_runs_again),
		TEST(test_what_is_stale_serves_where_the_model_fails),
		TEST(test_what_is_stale_is_renewed_behind_the_back),
		TEST(test_an_age_that_will_not_do),
		TEST(test_what_is_purged_while_it_is_fetched),
		TEST(test_an_answer_to_another_question),
		TEST(test_a_damaged_entry),
		TEST(test_trust_that_is_lost_meanwhile),
		TEST(test_what_ran_before_the_loss_is_not_stored),
		TEST(test_losses_after_the_preparation),
		TEST(test_prepared_requests),
		TEST(test_trust_that_is_lost_after_the_preparation),
		TEST(test_a_preparation_that_came_to_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
