/*
 * What is asked, joined, run again and left: requests from their question to their answer. See engine_fixture.h.
 */
#include "inference/engine_fixture.h"

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
	asker_assert_answered(&asker, 0);
	ASK(&asker, 8);
	assert_false(asker.done);
	fixture_run(0);
	asker_assert_answered(&asker, 100);
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
	fixture_run(0);
	for (int i = 0; i < 3; i++) {
		asker_assert_answered(&askers[i], 0);
	}
	assert_false(other.done);
	fixture_run(1);
	asker_assert_answered(&other, 0);
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
	fixture_run(0);
	assert_int_equal(asker.request.report.forward, FORWARD_PARTIAL);
	asker_assert_answered(&asker, 0);
}

static void
test_no_run_for_who_wants_none(void **state)
{
	struct asker asker;

	(void)state;
	asker_ask(&asker, &this.model, &(struct cache_directives){.only = true}, 1, (int32_t[]){7});
	asker_assert_failed(&asker, STATUS_NOT_CACHED);
	assert_int_equal(executor.count, 0);
}

static void
test_a_full_queue(void **state)
{
	struct asker asker;

	(void)state;
	executor.full = true;
	ASK(&asker, 7);
	asker_assert_failed(&asker, STATUS_UNAVAILABLE);
	assert_int_equal(store.inserts, 0);
}

static void
test_what_is_too_large_is_not_stored(void **state)
{
	struct asker asker;

	(void)state;
	this.cache.settings.max_value_bytes = 10;
	ASK(&asker, 7);
	fixture_run(0);
	assert_false(asker.request.report.stored);
	asker_assert_answered(&asker, 0);
	assert_int_equal(store.inserts, 0);
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
	asker_assert_failed(&leader, STATUS_CANCELLED); /* and its tensors are gone */
	assert_int_equal(executor.withdrawn, 0);
	fixture_run(0);
	asker_assert_answered(&other, 0);
}

/* What is sent for those who stay is theirs, although it was read from the request that led. */
static void
test_nothing_of_a_leader_that_left_is_used(void **state)
{
	struct asker leader;
	struct asker joiner;
	char *type = memory_text("type of both");
	const struct job *job;

	(void)state;
	asker_fill(&leader, &this.model, &no_wish, 1, (int32_t[]){1});
	asker_fill(&joiner, &this.model, &no_wish, 1, (int32_t[]){1});
	leader.input.content_type = bytes_text(type);
	joiner.input.content_type = bytes_text("type of both");
	assert_false(engine_infer(this.lane, &leader.request));
	assert_false(engine_infer(this.lane, &joiner.request));
	assert_int_equal(executor.count, 1);
	engine_cancel(&leader.request);
	fixture_settle();
	asker_assert_failed(&leader, STATUS_CANCELLED);
	free(type);
	job = executor.jobs[0];
	assert_bytes(job->inputs[0].content_type, "type of both");
	fixture_run(0);
	asker_assert_answered(&joiner, 0);
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
	asker_assert_failed(&leader, STATUS_CANCELLED);
	fixture_answer_lookups();
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&other, 0);
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
		asker_assert_failed(&askers[i], STATUS_CANCELLED);
	}
	fixture_finish(0, STATUS_CANCELLED);
	fixture_settle();
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
	asker_assert_failed(&leader, STATUS_CANCELLED);
	ASK(&other, 7);
	assert_int_equal(executor.count, 1);
	fixture_finish(0, STATUS_CANCELLED);
	fixture_settle();
	assert_false(other.done);
	assert_int_equal(executor.count, 2);
	fixture_run(1);
	asker_assert_answered(&other, 0);
}

/* --- Queue timeouts --- */

/* Whoever waits in the queue for 100 ms is refused. */
static void
refuse_after_100_ms(void)
{
	this.model.config.scheduling = MODEL_SCHEDULING_DYNAMIC;
	this.model.config.batching.default_policy.default_timeout_us = 100000;
}

static void
test_a_queue_timeout(void **state)
{
	struct asker asker;

	(void)state;
	refuse_after_100_ms();
	ASK(&asker, 7);
	fixture_pass(99);
	assert_false(asker.done);
	fixture_pass(2);
	assert_int_equal(executor.withdrawn, 1);
	asker_assert_failed(&asker, STATUS_UNAVAILABLE);
	fixture_finish(0, STATUS_CANCELLED);
	fixture_settle();
	assert_int_equal(executor.count, 1);
}

/* A run that has begun is waited for, however long it takes. */
static void
test_a_queue_timeout_after_the_queue(void **state)
{
	struct asker asker;

	(void)state;
	refuse_after_100_ms();
	ASK(&asker, 7);
	atomic_store(&executor.jobs[0]->started, true);
	fixture_pass(5000);
	assert_false(asker.done);
	assert_int_equal(executor.withdrawn, 0);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
}

/* The run that it joined fails too late for another one. */
static void
test_no_second_run_after_the_timeout(void **state)
{
	struct asker leader;
	struct asker other;

	(void)state;
	refuse_after_100_ms();
	ASK(&leader, 1, 2);
	ASK(&other, 2);
	atomic_store(&executor.jobs[0]->started, true);
	fixture_pass(200);
	assert_false(other.done);
	fixture_finish(0, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_failed(&leader, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_failed(&other, STATUS_UNAVAILABLE);
	for (size_t i = 1; i < executor.count; i++) {
		fixture_finish(i, STATUS_CANCELLED);
	}
	fixture_settle();
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
	fixture_finish(0, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_failed(&leader, STATUS_INTERNAL);
	assert_false(other.done); /* the other row may have been to blame */
	assert_int_equal(executor.count, 2);
	assert_true(executor.jobs[1]->unbatched);
	fixture_run(1);
	asker_assert_answered(&other, 0);
}

static void
test_a_failure_is_not_stored(void **state)
{
	struct asker asker;

	(void)state;
	ASK(&asker, 7);
	fixture_finish(0, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_failed(&asker, STATUS_INTERNAL);
	assert_int_equal(store.inserts, 0);
	ASK(&asker, 7);
	assert_int_equal(executor.count, 2);
	fixture_run(1);
	asker_assert_answered(&asker, 0);
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
	fixture_run(0);
	assert_false(asker.done);
	executor.added = 100;
	assert_int_equal(executor.count, 2);
	assert_int_equal(executor.jobs[1]->part_count, 1); /* the whole request, by itself */
	assert_int_equal(executor.jobs[1]->rows, 2);
	fixture_run(1);
	asker_assert_answered(&asker, 100);
}

static void
test_what_ran_before_the_loss_is_not_stored(void **state)
{
	struct asker asker;

	(void)state;
	ASK(&asker, 1);
	model_lose_row_trust(&this.model, ROWS_DEPENDENT, "a test says so");
	fixture_run(0);
	assert_int_equal(store.inserts, 0);
	fixture_finish(1, STATUS_OK); /* once more, as a whole */
	fixture_settle();
	asker_assert_answered(&asker, 0);
}

/* --- Audits: an answer that was put together of rows runs once more as a whole before anybody gets it --- */

static void
test_an_assembled_answer_is_audited(void **state)
{
	struct asker asker;

	(void)state;
	STORE(1);
	row_trust_init(&this.model.rows, ROWS_STATED, 8, 0.001);
	ASK(&asker, 1, 2);
	fixture_run(0);
	assert_false(asker.done);
	assert_int_equal(executor.count, 2);
	assert_int_equal(executor.jobs[1]->rows, 2);
	fixture_run(1);
	asker_assert_answered(&asker, 0);
	assert_true(model_by_row(&this.model));
}

/* The rows depend on each other: the whole is the answer, and nothing stored before is found again. */
static void
test_an_audit_that_finds_another_answer(void **state)
{
	struct asker asker;

	(void)state;
	STORE(1);
	row_trust_init(&this.model.rows, ROWS_STATED, 8, 0.001);
	ASK(&asker, 1, 2);
	fixture_finish(0, STATUS_OK);
	executor.added = 100;
	fixture_settle();
	fixture_run(1);
	asker_assert_answered(&asker, 100);
	assert_false(model_by_row(&this.model));
	ASK(&asker, 1);
	assert_false(asker.done);
	fixture_run(2);
	asker_assert_answered(&asker, 100);
}

static void
test_an_audit_that_fails(void **state)
{
	struct asker asker;

	(void)state;
	STORE(1);
	row_trust_init(&this.model.rows, ROWS_STATED, 8, 0.001);
	ASK(&asker, 1, 2);
	fixture_run(0);
	fixture_finish(1, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_failed(&asker, STATUS_INTERNAL); /* without a verdict there is no answer */
}

/* --- Requests prepared on another thread --- */

static void
prepare(struct asker *asker, int32_t one, int32_t two)
{
	asker_fill(asker, &this.model, &no_wish, 2, (int32_t[]){one, two});
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
	asker_assert_answered(&asker, 0);
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
	fixture_run(0);
	asker_assert_answered(&asker, 100);
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
		fixture_finish(i, STATUS_OK);
	}
	fixture_settle();
	for (int i = 0; i < 2; i++) {
		asker_assert_answered(&askers[i], 0);
	}
}

static void
test_a_preparation_that_came_to_nothing(void **state)
{
	struct asker asker;

	(void)state;
	asker_fill(&asker, &this.model, &no_wish, 2, (int32_t[]){1, 2});
	asker.shape[1] = 5;
	engine_prepare_begin(this.lane, &asker.request);
	engine_prepare(&asker.request, true);
	asker.done = engine_infer(this.lane, &asker.request);
	asker_assert_failed(&asker, STATUS_INVALID_ARGUMENT);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_what_is_known_does_not_run),
		FIXTURE_TEST(test_equal_questions_run_once),
		FIXTURE_TEST(test_only_unknown_rows_run),
		FIXTURE_TEST(test_no_run_for_who_wants_none),
		FIXTURE_TEST(test_a_full_queue),
		FIXTURE_TEST(test_what_is_too_large_is_not_stored),
		FIXTURE_TEST(test_the_leader_leaves),
		FIXTURE_TEST(test_nothing_of_a_leader_that_left_is_used),
		FIXTURE_TEST(test_the_leader_leaves_before_the_run),
		FIXTURE_TEST(test_all_leave),
		FIXTURE_TEST(test_who_joins_a_withdrawn_run_asks_again),
		FIXTURE_TEST(test_a_queue_timeout),
		FIXTURE_TEST(test_a_queue_timeout_after_the_queue),
		FIXTURE_TEST(test_no_second_run_after_the_timeout),
		FIXTURE_TEST(test_a_failure_is_of_those_who_ran_together),
		FIXTURE_TEST(test_a_failure_is_not_stored),
		FIXTURE_TEST(test_trust_that_is_lost_meanwhile),
		FIXTURE_TEST(test_what_ran_before_the_loss_is_not_stored),
		FIXTURE_TEST(test_an_assembled_answer_is_audited),
		FIXTURE_TEST(test_an_audit_that_finds_another_answer),
		FIXTURE_TEST(test_an_audit_that_fails),
		FIXTURE_TEST(test_prepared_requests),
		FIXTURE_TEST(test_losses_after_the_preparation),
		FIXTURE_TEST(test_trust_that_is_lost_after_the_preparation),
		FIXTURE_TEST(test_a_preparation_that_came_to_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
