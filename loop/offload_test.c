#include "loop/offload.h"

#include "base/unit_test.h"

#include <pthread.h>
#include <semaphore.h>

#define LONG ((size_t)2 << 20) /* too long for the thread of short pieces */

struct piece {
	struct offload_work work; /* first */
	struct test *test;
};

struct test {
	struct loop *loop;
	struct offload *offload;
	pthread_mutex_t gate;
	size_t order[8]; /* sizes of the pieces, in the order in which the one thread ran them */
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

/* All run off the loop's thread, small pieces before larger ones that were posted first; each is done on the loop. */
static void
test_small_ones_first(void **state)
{
	static const size_t sizes[] = {LONG + 1, LONG + 500, LONG + 100, LONG + 400, LONG + 100, LONG + 7};
	struct piece pieces[sizeof(sizes) / sizeof(*sizes)];
	struct error error;
	struct test test = {.loop = loop_new(&error),
			    .gate = PTHREAD_MUTEX_INITIALIZER,
			    .wanted = sizeof(sizes) / sizeof(*sizes),
			    .home = pthread_self()};

	(void)state;
	test.offload = offload_new(1);
	(void)pthread_mutex_lock(&test.gate); /* the first piece to run waits here */
	for (size_t i = 0; i < test.wanted; i++) {
		pieces[i] = (struct piece){.work = {.loop = test.loop, .size = sizes[i], .run = run, .done = done},
					   .test = &test};
		offload_post(test.offload, &pieces[i].work);
	}
	(void)pthread_mutex_unlock(&test.gate);
	loop_run(test.loop);
	assert_int_equal(test.ran, test.wanted);
	for (size_t i = 2; i < test.wanted; i++) { /* the first may have been taken early */
		assert_true(test.order[i] >= test.order[i - 1]);
	}
	offload_free(test.offload);
	loop_free(test.loop);
}

static sem_t long_began;
static sem_t short_ran;

static void
wait_for(sem_t *event)
{
	while (sem_wait(event) != 0) {
	}
}

static void
run_long(struct offload_work *work)
{
	(void)work;
	(void)sem_post(&long_began);
	wait_for(&short_ran);
}

static void
run_short(struct offload_work *work)
{
	(void)work;
	(void)sem_post(&short_ran);
	(void)sem_post(&short_ran);
}

/* Hangs if the short piece waits for the long one. */
static void
test_short_ones_do_not_wait_for_a_long_one(void **state)
{
	struct error error;
	struct test test = {.loop = loop_new(&error), .wanted = 3, .home = pthread_self()};
	struct piece pieces[3];

	(void)state;
	(void)sem_init(&long_began, 0, 0);
	(void)sem_init(&short_ran, 0, 0);
	test.offload = offload_new(1);
	for (size_t i = 0; i < 3; i++) {
		pieces[i] = (struct piece){.work = {.loop = test.loop,
						    .size = i < 2 ? LONG : 1,
						    .run = i < 2 ? run_long : run_short,
						    .done = done},
					   .test = &test};
	}
	offload_post(test.offload, &pieces[0].work);
	wait_for(&long_began); /* the thread for long pieces is busy until the short one has run */
	offload_post(test.offload, &pieces[1].work);
	offload_post(test.offload, &pieces[2].work);
	loop_run(test.loop);
	assert_int_equal(test.done, 3);
	offload_free(test.offload);
	loop_free(test.loop);
	(void)sem_destroy(&long_began);
	(void)sem_destroy(&short_ran);
}

/* offload_free runs what was posted before it. */
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
		cmocka_unit_test(test_short_ones_do_not_wait_for_a_long_one),
		cmocka_unit_test(test_ending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
