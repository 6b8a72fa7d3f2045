#include "inference/engine_fixture.h"

#include "base/memory.h"
#include "inference/cache/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

struct fixture_store store;

static struct blob *
find(const struct cache_key *key)
{
	for (size_t i = 0; i < store.count; i++) {
		if (memcmp(&store.entries[i].key, &key->digest, sizeof(key->digest)) == 0) {
			return blob_ref(store.entries[i].value);
		}
	}
	return NULL;
}

void
fixture_put(const struct digest_value *key, struct blob *value)
{
	for (size_t i = 0; i < store.count; i++) {
		if (memcmp(&store.entries[i].key, key, sizeof(*key)) == 0) {
			blob_unref(store.entries[i].value);
			store.entries[i].value = blob_ref(value);
			return;
		}
	}
	store.entries[store.count++] = (struct fixture_entry){.key = *key, .value = blob_ref(value)};
}

void
fixture_empty_store(void)
{
	while (store.count > 0) {
		blob_unref(store.entries[--store.count].value);
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
	if (store.down) {
		lookup->failed = true;
		return true;
	}
	if (store.slow) {
		store.lookups_waiting[store.lookups_waiting_count++] = lookup;
		return false;
	}
	fill_lookup(lookup);
	return true;
}

static void
store_peek(struct cache_lane *lane, struct cache_lookup *lookup)
{
	(void)lane;
	if (store.tells) {
		fill_lookup(lookup);
	}
}

void
fixture_answer_lookups(void)
{
	while (store.lookups_waiting_count > 0) {
		struct cache_lookup *lookup = store.lookups_waiting[--store.lookups_waiting_count];

		fill_lookup(lookup);
		lookup->done(lookup);
	}
}

static bool
store_insert(struct cache_lane *lane, struct cache_insert *insert)
{
	(void)lane;
	store.inserts++;
	fixture_put(&insert->key->digest, insert->value);
	return true;
}

static bool
store_purge(struct cache_lane *lane, struct cache_purge *purge)
{
	(void)lane;
	purge->removed = store.count;
	fixture_empty_store();
	return true;
}

static bool
store_lease(struct cache_lane *lane, struct cache_lease *lease)
{
	(void)lane;
	store.leased++;
	lease->result = store.grants > 0 ? CACHE_LEASE_GRANTED : store.lease;
	store.grants -= store.grants > 0;
	if (store.slow_leases) {
		store.leases_waiting[store.leases_waiting_count++] = lease;
	}
	return !store.slow_leases;
}

void
fixture_answer_leases(void)
{
	while (store.leases_waiting_count > 0) {
		struct cache_lease *lease = store.leases_waiting[--store.leases_waiting_count];

		lease->done(lease);
	}
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
	.peek = store_peek,
	.insert = store_insert,
	.purge = store_purge,
	.lease = store_lease,
	.release = store_release,
};

/* --- The executor --- */

struct fixture_executor executor;

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

void
fixture_finish(size_t index, enum status status)
{
	struct job *job = executor.jobs[index];

	assert_true(index < executor.count);
	job->status = status;
	job->ran = status != STATUS_CANCELLED;
	job->withdrawn = status == STATUS_CANCELLED;
	if (status != STATUS_OK) {
		(void)error_set(job_error(job), status, "the model fails");
	}
	for (size_t i = 0; i < job->part_count && status == STATUS_OK; i++) {
		job->parts[i].entry = compute(job, &job->parts[i]);
	}
	job->finished(job);
}

/* --- The engine, and a model that it serves --- */

struct fixture_engine this;

static void
on_stop(struct loop_mail *mail)
{
	(void)mail;
	loop_stop(this.loop);
}

/* Several times, since what is delivered may post more. */
void
fixture_settle(void)
{
	for (int i = 0; i < 6; i++) {
		struct loop_mail mail = {.deliver = on_stop};

		loop_post(this.loop, &mail);
		loop_run(this.loop);
	}
}

void
fixture_run(size_t index)
{
	fixture_finish(index, STATUS_OK);
	fixture_settle();
}

void
fixture_pass(uint64_t ms)
{
	now_ns += ms * NS_PER_MS;
	fixture_settle();
}

static void
unused(struct model *model, void *context)
{
	(void)model;
	(void)context;
}

void
fixture_make_model(struct model *model, const char *name)
{
	struct digest_value fingerprint = {.length = 32};

	*model = (struct model){.version = 1, .unused = unused, .inputs_by_name = &this.order};
	atomic_init(&model->references, 1);
	model->config = (struct model_config){.name = bytes_text(name),
					      .max_batch_size = FIXTURE_ROWS_MAX,
					      .inputs = &this.input,
					      .input_count = 1,
					      .outputs = &this.output,
					      .output_count = 1,
					      .response_cache = true};
	(void)snprintf(model->scope, sizeof(model->scope), "%s:1:00000000", name);
	buf_init(&model->key_prefix, 64);
	assert_true(key_write_prefix(&model->key_prefix, KEYED_HASH_GHASH, bytes_text(""), model->config.name, 1,
				     &fingerprint));
	model->row_record = row_record_get(buf_bytes(&model->key_prefix));
	row_trust_init(&model->rows, ROWS_STATED, 0, 0);
	model->statistics = statistics_new(FIXTURE_ROWS_MAX);
}

void
fixture_free_model(struct model *model)
{
	assert_int_equal(atomic_load(&model->references), 1);
	statistics_unref(model->statistics);
	row_record_put(model->row_record);
	buf_fini(&model->key_prefix);
}

void
fixture_keep_for(struct model *model, uint64_t ttl_s, uint64_t revalidate_s, uint64_t on_error_s)
{
	model->freshness = (struct freshness_policy){
		.ttl_ms = ttl_s * 1000, .revalidate_ms = revalidate_s * 1000, .on_error_ms = on_error_s * 1000};
}

static void
make_tensors(void)
{
	this.dim = 1;
	this.input = (struct model_tensor){
		.name = bytes_text("x"), .datatype = DATATYPE_INT32, .dims = {.rank = 1, .dims = &this.dim}};
	this.output = this.input;
	this.output.name = bytes_text("y");
}

int
fixture_setup(void **state)
{
	struct error error;

	(void)state;
	memset(&store, 0, sizeof(store));
	memset(&executor, 0, sizeof(executor));
	this.loop = loop_new(&error);
	this.cache = (struct response_cache){
		.ops = &store_ops, .settings = {.lookup_timeout_ms = FIXTURE_LOOKUP_TIMEOUT_MS}, .has_secret = true};
	response_cache_keys_derive(&this.cache.keys, KEYED_HASH_GHASH, bytes_text("a secret"));
	purge_marks_init(&this.cache.purges);
	this.engine = engine_new(&this.cache);
	this.lane = engine_lane_new(this.engine, this.loop, NULL, 0);
	this.lane->models = &fake_executor;
	make_tensors();
	fixture_make_model(&this.model, "m");
	return 0;
}

static void
on_drained(void *argument)
{
	*(bool *)argument = true;
}

int
fixture_teardown(void **state)
{
	bool drained = false;

	(void)state;
	engine_lane_drain(this.lane, on_drained, &drained);
	fixture_settle();
	assert_true(drained);
	assert_int_equal(store.lookups_waiting_count + store.leases_waiting_count, 0);
	engine_lane_free(this.lane);
	engine_free(this.engine);
	purge_marks_fini(&this.cache.purges);
	fixture_free_model(&this.model);
	fixture_empty_store();
	loop_free(this.loop);
	return 0;
}

/* --- Those who ask --- */

const struct cache_directives no_wish;

static void
on_done(struct inference_request *request)
{
	((struct asker *)request)->done = true;
}

void
asker_fill(struct asker *asker, struct model *model, const struct cache_directives *directives, size_t count,
	   const int32_t *values)
{
	*asker = (struct asker){.shape = {(int64_t)count, 1}};
	arena_init(&asker->arena, 1 << 20);
	memcpy(asker->values, values, count * sizeof(*values));
	asker->input = (struct tensor){.name = bytes_text("x"),
				       .datatype = DATATYPE_INT32,
				       .rank = 2,
				       .shape = asker->shape,
				       .data = bytes_make(asker->values, count * sizeof(*values))};
	asker->request = (struct inference_request){.model = model,
						    .inputs = &asker->input,
						    .input_count = 1,
						    .directives = *directives,
						    .arena = &asker->arena,
						    .done = on_done,
						    .error = &asker->error};
}

void
asker_ask(struct asker *asker, struct model *model, const struct cache_directives *directives, size_t count,
	  const int32_t *values)
{
	asker_fill(asker, model, directives, count, values);
	asker->done = engine_infer(this.lane, &asker->request);
}

static void
forget(struct asker *asker)
{
	assert_true(asker->done);
	if (asker->request.status == STATUS_OK) {
		blob_unref(asker->request.entry);
	}
	arena_fini(&asker->arena);
}

void
asker_assert_answer(struct asker *asker, int32_t factor, int32_t added)
{
	struct tensor output;

	assert_true(asker->done);
	assert_int_equal(asker->request.status, STATUS_OK);
	output = entry_output(asker->request.entry, 0);
	assert_int_equal(output.data.length, (size_t)asker->shape[0] * sizeof(int32_t));
	for (int64_t i = 0; i < asker->shape[0]; i++) {
		int32_t y;

		memcpy(&y, output.data.at + (size_t)i * sizeof(y), sizeof(y));
		assert_int_equal(y, factor * asker->values[i] + added);
	}
	forget(asker);
}

void
asker_assert_answered(struct asker *asker, int32_t added)
{
	asker_assert_answer(asker, 2, added);
}

void
asker_assert_failed(struct asker *asker, enum status status)
{
	assert_true(asker->done);
	assert_int_equal(asker->request.status, status);
	forget(asker);
}
