#include "inference/scheduler/job_queue.h"

#include "base/unit_test.h"

#define JOBS 8

static const int64_t narrow[2] = {1, 4};
static const int64_t wide[2] = {1, 5};

struct fixture {
	struct model_config config;
	struct job_queue queue;
	struct tensor tensors[JOBS];
	struct job jobs[JOBS];
};

static void
fixture_init(struct fixture *fixture)
{
	fixture->config.max_batch_size = 8;
	fixture->config.scheduling = MODEL_SCHEDULING_DYNAMIC;
	job_queue_init(&fixture->queue, &fixture->config, 4);
	for (size_t i = 0; i < JOBS; i++) {
		fixture->tensors[i] = (struct tensor){.rank = 2, .shape = narrow};
		fixture->jobs[i].inputs = &fixture->tensors[i];
		fixture->jobs[i].input_count = 1;
		fixture->jobs[i].rows = 1;
		fixture->jobs[i].level = 1;
	}
}

static void
add(struct fixture *fixture, size_t index, uint64_t now)
{
	assert_true(job_queue_add(&fixture->queue, &fixture->jobs[index], now));
}

/* Takes a batch; returns its jobs as decimal digits, each index plus 1. */
static unsigned
take(struct fixture *fixture, uint64_t now, uint64_t *wait_ns)
{
	struct job_list batch;
	struct job *job;
	unsigned digits = 0;

	job_queue_take(&fixture->queue, now, false, &batch, wait_ns);
	TAILQ_FOREACH (job, &batch, queue) {
		digits = digits * 10 + (unsigned)(job - fixture->jobs) + 1;
	}
	return digits;
}

static void
test_what_fits_together(void **state)
{
	struct fixture fixture = {0};
	uint64_t wait;

	(void)state;
	fixture_init(&fixture);
	fixture.jobs[1].rows = 7;
	fixture.tensors[3].shape = wide;
	for (size_t i = 0; i < 4; i++) {
		add(&fixture, i, i);
	}
	assert_false(job_queue_add(&fixture.queue, &fixture.jobs[4], 9)); /* it is full */
	assert_int_equal(take(&fixture, 10, &wait), 12);		  /* eight rows */
	assert_int_equal(take(&fixture, 10, &wait), 3);			  /* another shape comes next */
	assert_int_equal(take(&fixture, 10, &wait), 4);
	assert_int_equal(take(&fixture, 10, &wait), 0);
	assert_int_equal(wait, 0);
	job_queue_fini(&fixture.queue);
}

static void
test_waiting_for_more(void **state)
{
	static int32_t preferred[] = {2, 4};
	struct fixture fixture = {
		.config.batching = {.preferred = preferred, .preferred_count = 2, .max_queue_delay_us = 1}};
	uint64_t wait;

	(void)state;
	fixture_init(&fixture);
	add(&fixture, 0, 100);
	assert_int_equal(take(&fixture, 600, &wait), 0);
	assert_int_equal(wait, 500);
	add(&fixture, 1, 700);
	add(&fixture, 2, 700);
	assert_int_equal(take(&fixture, 700, &wait), 12); /* the third would make a size that nobody prefers */
	assert_int_equal(take(&fixture, 700, &wait), 0);
	assert_int_equal(take(&fixture, 1700, &wait), 3); /* late */
	add(&fixture, 3, 2000);
	fixture.jobs[4].unbatched = true;
	add(&fixture, 4, 2000);
	assert_int_equal(take(&fixture, 2000, &wait), 5); /* it does not wait */
	assert_int_equal(take(&fixture, 3000, &wait), 4);
	job_queue_fini(&fixture.queue);
}

/* A retry is admitted to a full queue: its request was admitted before. */
static void
test_full(void **state)
{
	struct fixture fixture = {0};
	uint64_t wait;

	(void)state;
	fixture_init(&fixture);
	fixture.queue.merges = false;
	for (size_t i = 0; i < 4; i++) {
		add(&fixture, i, 0);
	}
	assert_false(job_queue_add(&fixture.queue, &fixture.jobs[4], 0));
	fixture.jobs[4].unbatched = true;
	add(&fixture, 4, 0);
	assert_int_equal(take(&fixture, 0, &wait), 5);
	assert_int_equal(take(&fixture, 0, &wait), 1);
	assert_false(job_queue_add(&fixture.queue, &fixture.jobs[5], 0) &&
		     job_queue_add(&fixture.queue, &fixture.jobs[6], 0));
	job_queue_fini(&fixture.queue);
}

static void
test_priorities_and_delays(void **state)
{
	struct fixture fixture = {
		.config.batching = {.priority_levels = 2, .default_policy = {.delays = true, .default_timeout_us = 1}}};
	uint64_t wait;

	(void)state;
	fixture_init(&fixture);
	fixture.queue.merges = false;
	fixture.jobs[0].level = 2;
	fixture.jobs[1].level = 2;
	fixture.jobs[2].delay_ns = 1000;
	for (size_t i = 0; i < 4; i++) {
		add(&fixture, i, 0);
	}
	job_queue_promote(&fixture.queue, &fixture.jobs[1], 1);
	assert_int_equal(take(&fixture, 2000, &wait), 4); /* the third has waited too long */
	assert_int_equal(take(&fixture, 2000, &wait), 2);
	assert_int_equal(take(&fixture, 2000, &wait), 3);
	job_queue_remove(&fixture.queue, &fixture.jobs[0]);
	assert_int_equal(take(&fixture, 2000, &wait), 0);
	assert_int_equal(fixture.queue.count, 0);
	job_queue_fini(&fixture.queue);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_fits_together),
		cmocka_unit_test(test_waiting_for_more),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_priorities_and_delays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
