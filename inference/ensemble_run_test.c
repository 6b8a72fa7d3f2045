/*
 * Ensembles, run by the engine: which steps run, with what, and what becomes of the whole when a step fails, is known,
 * old, or not wanted any more. See engine_fixture.h.
 */
#include "inference/engine_fixture.h"

/*
 * The chain: y = second(first(x)), four times x. The fork: first and second both get x; its outputs are y, of the
 * first, and z, of the second.
 */
static struct model first;
static struct model second;
static struct model chain;
static struct model fork_;
static struct model_tensor outputs[2];

static struct ensemble_port x_in = {.tensor = 0, .index = 0};
static struct ensemble_port mid = {.tensor = 1, .index = 0};
static struct ensemble_port end = {.tensor = 2, .index = 0};
static size_t chain_outputs[] = {2};
static size_t fork_outputs[] = {1, 2};
static struct ensemble_step chain_steps[2];
static struct ensemble_step fork_steps[2];
static struct ensemble chain_graph = {
	.tensor_count = 3, .outputs = chain_outputs, .steps = chain_steps, .step_count = 2};
static struct ensemble fork_graph = {.tensor_count = 3, .outputs = fork_outputs, .steps = fork_steps, .step_count = 2};

static struct ensemble_step
step(struct model *model, struct ensemble_port *input, struct ensemble_port *output)
{
	return (struct ensemble_step){
		.model = model, .inputs = input, .input_count = 1, .outputs = output, .output_count = 1};
}

static int
setup(void **state)
{
	(void)fixture_setup(state);
	fixture_make_model(&first, "first");
	fixture_make_model(&second, "second");
	fixture_make_model(&chain, "chain");
	fixture_make_model(&fork_, "fork");
	first.config.response_cache = second.config.response_cache = false;
	chain_steps[0] = step(&first, &x_in, &mid);
	chain_steps[1] = step(&second, &mid, &end);
	chain.ensemble = &chain_graph;
	fork_steps[0] = step(&first, &x_in, &mid);
	fork_steps[1] = step(&second, &x_in, &end);
	fork_.ensemble = &fork_graph;
	outputs[0] = outputs[1] = this.output;
	outputs[1].name = bytes_text("z");
	fork_.config.outputs = outputs;
	fork_.config.output_count = 2;
	return 0;
}

static int
teardown(void **state)
{
	struct model *models[] = {&first, &second, &chain, &fork_};
	int result = fixture_teardown(state);

	for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++) {
		fixture_free_model(models[i]);
	}
	return result;
}

static void
finish_next(size_t index)
{
	assert_int_equal(executor.count, index + 1);
	fixture_run(index);
}

/* Asks the chain for a value that it does not know, and runs both steps. */
static void
run_chain(int32_t value, int32_t added)
{
	struct asker asker;

	executor.count = 0;
	ASK_OF(&asker, &chain, value);
	finish_next(0);
	finish_next(1);
	asker_assert_answer(&asker, 4, added);
	executor.count = 0;
}

/* --- Steps --- */

static void
test_a_step_gets_what_the_one_before_made(void **state)
{
	struct asker asker;

	(void)state;
	ASK_OF(&asker, &chain, 1, 2, 3);
	finish_next(0);
	assert_false(asker.done);
	finish_next(1);
	asker_assert_answer(&asker, 4, 0);
	ASK_OF(&asker, &chain, 2, 1); /* its rows are known */
	asker_assert_answer(&asker, 4, 0);
	assert_int_equal(executor.count, 2);
}

static void
test_a_step_that_is_suspended_suspends_the_whole(void **state)
{
	(void)state;
	run_chain(1, 0);
	atomic_store(&second.suspended, true);
	executor.added = 1;
	run_chain(1, 3);
	executor.added = 2;
	run_chain(1, 6);
	atomic_store(&second.suspended, false);
}

static void
test_steps_that_need_nothing_of_each_other_run_at_once(void **state)
{
	struct asker asker;

	(void)state;
	ASK_OF(&asker, &fork_, 7);
	assert_int_equal(executor.count, 2);
	fixture_run(1);
	assert_false(asker.done);
	fixture_run(0);
	assert_int_equal(entry_output_count(asker.request.entry), 2);
	asker_assert_answer(&asker, 2, 0);
}

static void
test_equal_questions_run_the_steps_once(void **state)
{
	struct asker askers[2];

	(void)state;
	ASK_OF(&askers[0], &chain, 7);
	ASK_OF(&askers[1], &chain, 7);
	finish_next(0);
	finish_next(1);
	asker_assert_answer(&askers[0], 4, 0);
	asker_assert_answer(&askers[1], 4, 0);
}

static void
test_a_step_that_is_known_does_not_run(void **state)
{
	struct asker asker;

	(void)state;
	first.config.response_cache = true;
	chain.config.response_cache = false;
	run_chain(7, 0);
	ASK_OF(&asker, &chain, 7, 8);
	assert_int_equal(executor.jobs[0]->part_count, 1); /* of the first step only the row 8 */
	finish_next(0);
	assert_int_equal(executor.jobs[1]->rows, 2);
	finish_next(1);
	asker_assert_answer(&asker, 4, 0);
}

static void
test_directives_are_for_the_steps_too(void **state)
{
	struct asker asker;

	(void)state;
	first.config.response_cache = second.config.response_cache = true;
	run_chain(7, 0);
	executor.added = 100;
	asker_ask(&asker, &chain, &(struct cache_directives){.bypass = true}, 1, (int32_t[]){7});
	finish_next(0);
	finish_next(1);
	asker_assert_answer(&asker, 4, 300);
	ASK_OF(&asker, &chain, 7); /* a bypass stores nothing */
	asker_assert_answer(&asker, 4, 0);
	asker_ask(&asker, &chain, &(struct cache_directives){.only = true}, 1, (int32_t[]){8});
	asker_assert_failed(&asker, STATUS_NOT_CACHED);
	assert_int_equal(executor.count, 2);
}

/* --- Failures and leaving --- */

static void
test_the_error_of_a_step(void **state)
{
	struct asker asker;

	(void)state;
	ASK_OF(&asker, &chain, 7);
	fixture_finish(0, STATUS_INVALID_ARGUMENT);
	fixture_settle();
	assert_string_equal(asker.error.text, "in ensemble 'chain', the model fails");
	asker_assert_failed(&asker, STATUS_INVALID_ARGUMENT);
	assert_int_equal(executor.count, 1);
	assert_int_equal(store.inserts, 0);
}

static void
test_a_failure_withdraws_the_other_steps(void **state)
{
	struct asker asker;

	(void)state;
	ASK_OF(&asker, &fork_, 7);
	fixture_finish(0, STATUS_INTERNAL);
	fixture_settle();
	assert_int_equal(executor.withdrawn, 1);
	fixture_finish(1, STATUS_CANCELLED);
	fixture_settle();
	assert_string_equal(asker.error.text, "in ensemble 'fork', the model fails");
	asker_assert_failed(&asker, STATUS_INTERNAL);
}

static void
test_a_client_that_leaves_withdraws_the_step(void **state)
{
	struct asker asker;

	(void)state;
	ASK_OF(&asker, &chain, 7);
	engine_cancel(&asker.request);
	fixture_settle();
	assert_int_equal(executor.withdrawn, 1);
	asker_assert_failed(&asker, STATUS_CANCELLED);
	fixture_finish(0, STATUS_CANCELLED);
	fixture_settle();
	assert_int_equal(executor.count, 1);
}

static void
test_who_joined_keeps_the_steps(void **state)
{
	struct asker leader;
	struct asker other;

	(void)state;
	ASK_OF(&leader, &chain, 7);
	ASK_OF(&other, &chain, 7);
	engine_cancel(&leader.request);
	fixture_settle();
	asker_assert_failed(&leader, STATUS_CANCELLED);
	assert_int_equal(executor.withdrawn, 0);
	finish_next(0);
	finish_next(1);
	asker_assert_answer(&other, 4, 0);
}

/* The withdrawal is on its way when somebody joins. */
static void
test_who_joins_what_is_withdrawn_asks_again(void **state)
{
	struct asker leader;
	struct asker other;

	(void)state;
	ASK_OF(&leader, &chain, 7);
	engine_cancel(&leader.request);
	ASK_OF(&other, &chain, 7);
	fixture_settle();
	asker_assert_failed(&leader, STATUS_CANCELLED);
	fixture_finish(0, STATUS_CANCELLED);
	fixture_settle();
	assert_false(other.done);
	finish_next(1);
	finish_next(2);
	asker_assert_answer(&other, 4, 0);
}

static void
test_a_full_queue_of_a_step(void **state)
{
	struct asker asker;

	(void)state;
	ASK_OF(&asker, &chain, 7);
	executor.full = true;
	fixture_run(0);
	asker_assert_failed(&asker, STATUS_UNAVAILABLE);
	assert_int_equal(store.inserts, 0);
}

/* --- Purges --- */

/* Its first step was known, from before the purge, when it began. */
static void
test_an_ensemble_under_way_during_a_purge(void **state)
{
	struct cache_purge purge = {0};
	struct asker asker;

	(void)state;
	first.config.response_cache = true;
	ASK_OF(&asker, &first, 7);
	finish_next(0);
	asker_assert_answered(&asker, 0);
	fixture_pass(5);
	ASK_OF(&asker, &chain, 7);
	assert_true(engine_purge(this.lane, &purge));
	fixture_pass(5);
	finish_next(1);
	asker_assert_answer(&asker, 4, 0);
	assert_int_equal(store.count, 0);
	executor.added = 100;
	ASK_OF(&asker, &chain, 7);
	finish_next(2);
	finish_next(3);
	asker_assert_answer(&asker, 4, 300);
}

/* --- The age of parts --- */

/* The chain never expires; its first step does after 10 s. */
static void
test_the_whole_is_as_old_as_its_oldest_part(void **state)
{
	struct asker asker;

	(void)state;
	first.config.response_cache = true;
	fixture_keep_for(&first, 10, 0, 0);
	ASK_OF(&asker, &first, 7); /* known before the ensemble is asked */
	finish_next(0);
	asker_assert_answered(&asker, 0);
	executor.count = 0;
	fixture_pass(6000);
	ASK_OF(&asker, &chain, 7);
	finish_next(0); /* the second step */
	asker_assert_answer(&asker, 4, 0);
	fixture_pass(1000);
	ASK_OF(&asker, &chain, 7);
	assert_int_equal(asker.request.report.age_s, 7);
	assert_in_range(asker.request.report.ttl_s, 1, 4); /* TTLs vary by a tenth */
	asker_assert_answer(&asker, 4, 0);
	fixture_pass(5000); /* 12 s after the first step ran */
	run_chain(7, 0);
}

/*
 * The ensemble lives for 10 s, the entry of its first step for ever: it may be older than the whole may become, and
 * makes nothing stale.
 */
static void
ask_with_an_old_part(uint64_t revalidate_s)
{
	struct asker asker;

	first.config.response_cache = true;
	fixture_keep_for(&chain, 10, revalidate_s, 0);
	ASK_OF(&asker, &first, 7);
	finish_next(0);
	asker_assert_answered(&asker, 0);
	executor.count = 0;
	fixture_pass(60000);
	ASK_OF(&asker, &chain, 7);
	finish_next(0);
	asker_assert_answer(&asker, 4, 0);
	executor.count = 0;
}

static void
test_an_old_part_does_not_make_the_whole_stale(void **state)
{
	struct asker askers[2];

	(void)state;
	ask_with_an_old_part(0);
	for (int i = 0; i < 2; i++) {
		ASK_OF(&askers[i], &chain, 7);
	}
	if (!askers[0].done) { /* the part is renewed, once for both */
		finish_next(0);
		finish_next(1);
	}
	for (int i = 0; i < 2; i++) {
		asker_assert_answer(&askers[i], 4, 0);
	}
	executor.count = 0;
	ASK_OF(&askers[0], &chain, 7);
	assert_true(askers[0].request.report.ttl_s >= 0);
	asker_assert_answer(&askers[0], 4, 0);
	assert_int_equal(executor.count, 0);
}

static void
test_an_old_part_is_renewed_once(void **state)
{
	struct asker asker;
	size_t runs = 0;

	(void)state;
	ask_with_an_old_part(60);
	for (int i = 0; i < 5; i++) {
		ASK_OF(&asker, &chain, 7);
		while (executor.count > 0) {
			size_t last = --executor.count;

			runs++;
			fixture_run(last);
		}
		asker_assert_answer(&asker, 4, 0);
	}
	assert_true(runs <= 2); /* of each step */
}

/* A part that is used though it has expired, while it is renewed, makes the whole good for a moment, not stale. */
static void
test_a_stale_part(void **state)
{
	struct asker asker;

	(void)state;
	first.config.response_cache = true;
	fixture_keep_for(&first, 10, 600, 0);
	ASK_OF(&asker, &first, 7);
	finish_next(0);
	asker_assert_answered(&asker, 0);
	executor.count = 0;
	fixture_pass(60000);
	ASK_OF(&asker, &chain, 7);
	assert_int_equal(executor.count, 2); /* the renewal of the first step, and the second step */
	fixture_finish(0, STATUS_OK);
	fixture_run(1);
	asker_assert_answer(&asker, 4, 0);
	executor.count = 0;
	ASK_OF(&asker, &chain, 7);
	assert_true(asker.request.report.ttl_s >= 0);
	asker_assert_answer(&asker, 4, 0);
	assert_int_equal(executor.count, 0);
	fixture_pass(5000);
	executor.added = 100;
	ASK_OF(&asker, &chain, 7);
	finish_next(0); /* the second step, of the renewed first one */
	asker_assert_answer(&asker, 4, 100);
}

static void
test_an_answer_expires_with_a_part_inside_a_part(void **state)
{
	static struct ensemble_step outer_steps[1];
	static size_t outer_outputs[] = {1};
	struct ensemble graph = {.tensor_count = 2, .outputs = outer_outputs, .steps = outer_steps, .step_count = 1};
	struct model outer;
	struct asker asker;

	(void)state;
	fixture_make_model(&outer, "outer");
	outer_steps[0] = step(&chain, &x_in, &mid);
	outer.ensemble = &graph;
	chain.config.response_cache = false;
	first.config.response_cache = true;
	fixture_keep_for(&first, 10, 0, 0);
	ASK_OF(&asker, &outer, 7);
	finish_next(0);
	finish_next(1);
	asker_assert_answer(&asker, 4, 0);
	ASK_OF(&asker, &outer, 7);
	asker_assert_answer(&asker, 4, 0);
	fixture_pass(12000);
	executor.count = 0;
	executor.added = 100;
	ASK_OF(&asker, &outer, 7);
	finish_next(0);
	finish_next(1);
	asker_assert_answer(&asker, 4, 300);
	fixture_free_model(&outer);
}

int
main(void)
{
#define ENSEMBLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		ENSEMBLE_TEST(test_a_step_gets_what_the_one_before_made),
		ENSEMBLE_TEST(test_a_step_that_is_suspended_suspends_the_whole),
		ENSEMBLE_TEST(test_steps_that_need_nothing_of_each_other_run_at_once),
		ENSEMBLE_TEST(test_equal_questions_run_the_steps_once),
		ENSEMBLE_TEST(test_a_step_that_is_known_does_not_run),
		ENSEMBLE_TEST(test_directives_are_for_the_steps_too),
		ENSEMBLE_TEST(test_the_error_of_a_step),
		ENSEMBLE_TEST(test_a_failure_withdraws_the_other_steps),
		ENSEMBLE_TEST(test_a_client_that_leaves_withdraws_the_step),
		ENSEMBLE_TEST(test_who_joined_keeps_the_steps),
		ENSEMBLE_TEST(test_who_joins_what_is_withdrawn_asks_again),
		ENSEMBLE_TEST(test_a_full_queue_of_a_step),
		ENSEMBLE_TEST(test_an_ensemble_under_way_during_a_purge),
		ENSEMBLE_TEST(test_the_whole_is_as_old_as_its_oldest_part),
		ENSEMBLE_TEST(test_an_old_part_does_not_make_the_whole_stale),
		ENSEMBLE_TEST(test_an_old_part_is_renewed_once),
		ENSEMBLE_TEST(test_a_stale_part),
		ENSEMBLE_TEST(test_an_answer_expires_with_a_part_inside_a_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
