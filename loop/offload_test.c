#include "loop/offload.h"

#include "base/unit_test.h"

#include <pthread.h>

struct piece {
	struct offload_work work; /* first */
	struct test *test;
};

struct test {
	struct loop *loop;
	struct offload *offload;
	pthread_mutex_t gate;
	size_t order[8]; /* of sizes, as they ran: one thread runs them */
	size_t ran;
	size_t done;
	size_t wanted;
	pthread_t home;
};

static void
run(struct offload_work *work)
{
	struct test *test = ((struct piece *)work)->test;

	(void)pthread_mutex_lock(&test->gate);
	assert_false(pthread_equal(pthread_self(), test->home));
	test->order[test->ran++] = work->size;
	(void)pthread_mutex_unlock(&test->gate);
}

static void
done(struct offload_work *work)
{
	struct test *test = ((struct piece *)work)->test;

	assert_true(pthread_equal(pthread_self(), test->home));
	if (++test->done == test->wanted) {
		loop_stop(test->loop);
	}
}

/* All are run off the loop, the small ones before the large ones that came first, and each ends on the loop. */
static void
test_small_ones_first(void **state)
{
	static const size_t sizes[] = {1, 500, 100, 400, 100, 7};
	struct piece pieces[sizeof(sizes) / sizeof(*sizes)];
	struct error error;
	struct test test = {.loop = loop_new(&error),
			    .gate = PTHREAD_MUTEX_INITIALIZER,
			    .wanted = sizeof(sizes) / sizeof(*sizes),
			    .home = pthread_self()};

	(void)state;
	test.offload = offload_new(1);
	(void)pthread_mutex_lock(&test.gate); /* the first is taken, and waits */
	for (size_t i = 0; i < test.wanted; i++) {
		pieces[i] = (struct piece){.work = {.loop = test.loop, .size = sizes[i], .run = run, .done = done},
					   .test = &test};
		offload_post(test.offload, &pieces[i].work);
	}
	(void)pthread_mutex_unlock(&test.gate);
	loop_run(test.loop);
	assert_int_equal(test.ran, test.wanted);
	for (size_t i = 2; i < test.wanted; i++) { /* whichever the thread had taken before the others were there */
		assert_true(test.order[i] >= test.order[i - 1]);
	}
	offload_free(test.offload);
	loop_free(test.loop);
}

/* What was posted before the end is done all the same. */
static void
test_ending(void **state)
{
	struct piece pieces[8];
	struct error error;
	struct test test = {
		.loop = loop_new(&error), .gate = PTHREAD_MUTEX_INITIALIZER, .wanted = 8, .home = pthread_self()};

	(void)state;
	test.offload = offload_new(2);
	for (size_t i = 0; i < 8; i++) {
		pieces[i] = (struct piece){.work = {.loop = test.loop, .run = run, .done = done}, .test = &test};
		offload_post(test.offload, &pieces[i].work);
	}
	offload_free(test.offload);
	loop_run(test.loop);
	assert_int_equal(test.done, 8);
	loop_free(test.loop);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_ones_first),
		cmocka_unit_test(test_ending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
