/*
 * Models on another server, run by the engine: what is asked of the client, what becomes of its answers, and the audits
 * of rows. See engine_fixture.h.
 */
#include "inference/engine_fixture.h"
#include "inference/remote.h"

#define CALLS_MAX 16

/* A client that answers when a test says so: y = 2x + added, for each row; `by_neighbours`: plus the number of rows. */
static struct {
	struct remote_call *calls[CALLS_MAX];
	size_t count;
	size_t cancelled;
	bool refuses; /* to start */
	int32_t added;
	bool by_neighbours;
} client;

static const struct backend_ops elsewhere = {.name = "upstream"};

static enum status
client_start(void *remote, struct remote_call *call, struct error *error)
{
	assert_ptr_equal(remote, &client);
	if (client.refuses) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory");
	}
	assert_true(client.count < CALLS_MAX);
	client.calls[client.count++] = call;
	return STATUS_OK;
}

static void
client_cancel(void *remote, struct remote_call *call)
{
	assert_ptr_equal(remote, &client);
	for (size_t i = 0; i < client.count; i++) {
		if (client.calls[i] == call) {
			client.calls[i] = NULL;
		}
	}
	client.cancelled++;
}

static const struct remote_ops client_ops = {.start = client_start, .cancel = client_cancel};

static void
answer(size_t index)
{
	struct remote_call *call = client.calls[index];
	const struct tensor *input = &call->inputs[0];
	size_t rows = input->data.length / sizeof(int32_t);
	struct backend_output output = {
		.datatype = DATATYPE_INT32, .rank = 2, .shape = {(int64_t)rows, 1}, .length = input->data.length};
	struct error error;
	uint8_t *data;

	assert_int_equal(call->allocate(call, &output, &data, &error), STATUS_OK);
	for (size_t i = 0; i < rows; i++) {
		int32_t x;

		memcpy(&x, input->data.at + i * sizeof(x), sizeof(x));
		x = 2 * x + client.added + (client.by_neighbours ? (int32_t)rows : 0);
		memcpy(data + i * sizeof(x), &x, sizeof(x));
	}
	client.calls[index] = NULL;
	call->done(call, STATUS_OK, &error);
	fixture_settle();
}

static void
refuse_call(size_t index, enum status status)
{
	struct remote_call *call = client.calls[index];
	struct error error;

	(void)error_set(&error, status, "mine");
	client.calls[index] = NULL;
	call->done(call, status, &error);
	fixture_settle();
}

static int
setup(void **state)
{
	(void)fixture_setup(state);
	memset(&client, 0, sizeof(client));
	engine_lane_set_remote(this.lane, &client_ops, &client);
	this.model.backend = &elsewhere;
	return 0;
}

static void
trust_rows(uint64_t first_audits)
{
	row_trust_init(&this.model.rows, ROWS_STATED, first_audits, 0.001);
}

static void
distrust_rows(void)
{
	row_trust_init(&this.model.rows, ROWS_NONE, 0, 0.001);
}

static void
test_miss_then_hit(void **state)
{
	struct asker first;
	struct asker second;

	(void)state;
	distrust_rows();
	asker_ask(&first, &this.model, &no_wish, 2, (int32_t[]){1, 2});
	assert_false(first.done);
	assert_int_equal(client.count, 1);
	assert_ptr_equal(client.calls[0]->model, &this.model);
	assert_int_equal(client.calls[0]->inputs[0].shape[0], 2);
	answer(0);
	asker_assert_answered(&first, 0);
	asker_ask(&second, &this.model, &no_wish, 2, (int32_t[]){1, 2});
	asker_assert_answered(&second, 0);
	assert_int_equal(client.count, 1);
}

static void
test_equal_ones_join(void **state)
{
	struct asker askers[3];

	(void)state;
	distrust_rows();
	for (size_t i = 0; i < 3; i++) {
		asker_ask(&askers[i], &this.model, &no_wish, 1, (int32_t[]){7});
	}
	assert_int_equal(client.count, 1);
	answer(0);
	for (size_t i = 0; i < 3; i++) {
		asker_assert_answered(&askers[i], 0);
	}
}

static void
test_failures(void **state)
{
	static const enum status statuses[] = {STATUS_INTERNAL, STATUS_PASS, STATUS_INVALID_ARGUMENT};

	(void)state;
	distrust_rows();
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		struct asker asker;

		asker_ask(&asker, &this.model, &no_wish, 1, (int32_t[]){1});
		refuse_call(i, statuses[i]);
		asker_assert_failed(&asker, statuses[i]);
	}
	assert_int_equal(store.count, 0);
}

static void
test_what_cannot_be_sent(void **state)
{
	struct asker asker;

	(void)state;
	distrust_rows();
	client.refuses = true;
	asker_ask(&asker, &this.model, &no_wish, 1, (int32_t[]){1});
	fixture_settle();
	asker_assert_failed(&asker, STATUS_UNAVAILABLE);
}

static void
test_all_leave(void **state)
{
	struct asker askers[2];

	(void)state;
	distrust_rows();
	for (size_t i = 0; i < 2; i++) {
		asker_ask(&askers[i], &this.model, &no_wish, 1, (int32_t[]){1});
	}
	engine_cancel(&askers[0].request);
	fixture_settle();
	assert_int_equal(client.cancelled, 0);
	engine_cancel(&askers[1].request);
	fixture_settle();
	assert_int_equal(client.cancelled, 1);
	for (size_t i = 0; i < 2; i++) {
		asker_assert_failed(&askers[i], STATUS_CANCELLED);
	}
}

/* What such a model answers is given to who asked, and to nobody else. */
static void
test_a_suspended_model(void **state)
{
	struct asker askers[3];

	(void)state;
	distrust_rows();
	asker_ask(&askers[0], &this.model, &no_wish, 1, (int32_t[]){1});
	answer(0);
	asker_assert_answered(&askers[0], 0);
	store.inserts = 0;
	asker_ask(&askers[0], &this.model, &no_wish, 1, (int32_t[]){2}); /* under way */
	atomic_store(&this.model.suspended, true);
	client.added = 5;
	answer(1);
	asker_assert_answered(&askers[0], 5);
	for (size_t i = 1; i < 3; i++) { /* known ones, and equal ones */
		asker_ask(&askers[i], &this.model, &no_wish, 1, (int32_t[]){1});
	}
	assert_int_equal(client.count, 4);
	for (size_t i = 1; i < 3; i++) {
		client.added = (int32_t)i;
		answer(i + 1);
		asker_assert_answered(&askers[i], (int32_t)i);
	}
	assert_int_equal(store.inserts, 0);
}

/* --- Rows --- */

static void
test_only_unknown_rows_are_sent(void **state)
{
	struct asker first;
	struct asker second;

	(void)state;
	trust_rows(0);
	asker_ask(&first, &this.model, &no_wish, 2, (int32_t[]){1, 2});
	answer(0);
	asker_assert_answered(&first, 0);
	asker_ask(&second, &this.model, &no_wish, 3, (int32_t[]){2, 3, 1});
	assert_int_equal(client.calls[1]->inputs[0].data.length, sizeof(int32_t));
	answer(1);
	asker_assert_answered(&second, 0);
}

/* Nobody gets an answer before some rows were run alone. */
static void
test_audits_that_pass(void **state)
{
	struct asker asker;

	(void)state;
	trust_rows(2);
	asker_ask(&asker, &this.model, &no_wish, 2, (int32_t[]){1, 2});
	answer(0);
	for (size_t i = 1; i < 3; i++) {
		assert_false(asker.done);
		assert_int_equal(client.count, i + 1);
		assert_int_equal(client.calls[i]->inputs[0].data.length, sizeof(int32_t));
		answer(i);
	}
	asker_assert_answered(&asker, 0);
	assert_true(model_by_row(&this.model));
}

/* Rows that depend on each other: the request gets the model's answer to it as a whole, and rows are trusted no more.
 */
static void
test_audits_that_fail(void **state)
{
	struct asker asker;

	(void)state;
	trust_rows(2);
	client.by_neighbours = true;
	asker_ask(&asker, &this.model, &no_wish, 2, (int32_t[]){1, 2});
	answer(0);
	answer(1);
	assert_false(model_by_row(&this.model));
	assert_false(asker.done);
	answer(2); /* the whole request, again */
	asker_assert_answered(&asker, 2);
}

/* A server that goes away during an audit says nothing about rows. */
static void
test_audits_without_a_verdict(void **state)
{
	struct asker asker;

	(void)state;
	trust_rows(2);
	asker_ask(&asker, &this.model, &no_wish, 2, (int32_t[]){1, 2});
	answer(0);
	refuse_call(1, STATUS_UNAVAILABLE);
	while (!asker.done) { /* tried again, one by one */
		refuse_call(client.count - 1, STATUS_UNAVAILABLE);
	}
	asker_assert_failed(&asker, STATUS_UNAVAILABLE);
	assert_true(model_by_row(&this.model));
	assert_true(row_trust_is_new(&this.model.rows));
}

static void
test_all_leave_during_an_audit(void **state)
{
	struct asker asker;

	(void)state;
	trust_rows(2);
	asker_ask(&asker, &this.model, &no_wish, 2, (int32_t[]){1, 2});
	answer(0);
	engine_cancel(&asker.request);
	fixture_settle();
	assert_int_equal(client.cancelled, 1);
	asker_assert_failed(&asker, STATUS_CANCELLED);
	assert_true(row_trust_is_new(&this.model.rows));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_miss_then_hit),
		TEST(test_equal_ones_join),
		TEST(test_failures),
		TEST(test_what_cannot_be_sent),
		TEST(test_all_leave),
		TEST(test_a_suspended_model),
		TEST(test_only_unknown_rows_are_sent),
		TEST(test_audits_that_pass),
		TEST(test_audits_that_fail),
		TEST(test_audits_without_a_verdict),
		TEST(test_all_leave_during_an_audit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
