#include "measure/popularity.h"

#include "base/unit_test.h"

#include <math.h>

#define DRAWS 100000
#define S UINT64_C(1000000000)

static void
test_never_twice(void **state)
{
	struct popularity *popularity = popularity_new(&(struct popularity_options){.distinct = 0, .seed = 1});

	(void)state;
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(popularity_next(popularity, i * S), i);
	}
	popularity_free(popularity);
	popularity_free(NULL);
}

static void
test_one(void **state)
{
	struct popularity *popularity =
		popularity_new(&(struct popularity_options){.distinct = 1, .alpha = 1, .seed = 1});

	(void)state;
	assert_int_equal(popularity_next(popularity, 0), 0);
	assert_int_equal(popularity_next(popularity, 100 * S), 0);
	popularity_free(popularity);
}

/* Draws, and compares with what each rank should have. */
static void
expect_shares(double alpha, const double *shares, uint64_t distinct)
{
	struct popularity *popularity =
		popularity_new(&(struct popularity_options){.distinct = distinct, .alpha = alpha, .seed = 7});
	uint64_t counts[16] = {0};

	for (size_t i = 0; i < DRAWS; i++) {
		uint64_t input = popularity_next(popularity, 0);

		assert_true(input < distinct);
		counts[distinct - 1 - input]++;
	}
	for (uint64_t i = 0; i < distinct; i++) {
		assert_true(fabs((double)counts[i] / DRAWS - shares[i]) < 0.01);
	}
	popularity_free(popularity);
}

static void
test_shares(void **state)
{
	const double alike[] = {0.25, 0.25, 0.25, 0.25};
	const double zipf[] = {12.0 / 25, 6.0 / 25, 4.0 / 25, 3.0 / 25}; /* 1, 1/2, 1/3, 1/4 of 25/12 */

	(void)state;
	expect_shares(0, alike, 4);
	expect_shares(1, zipf, 4);
}

static void
test_drift(void **state)
{
	struct popularity *popularity =
		popularity_new(&(struct popularity_options){.distinct = 10, .alpha = 1, .drift = 100, .seed = 3});

	(void)state;
	for (size_t i = 0; i < 1000; i++) {
		uint64_t input = popularity_next(popularity, 10 * S); /* 1,000 have come since */

		assert_in_range(input, 1000, 1009);
	}
	popularity_free(popularity);
}

static void
test_the_same_seed_gives_the_same_draws(void **state)
{
	const struct popularity_options options = {.distinct = 1000, .alpha = 0.9, .seed = 42};
	struct popularity *one = popularity_new(&options);
	struct popularity *two = popularity_new(&options);

	(void)state;
	for (size_t i = 0; i < 100; i++) {
		assert_int_equal(popularity_next(one, 0), popularity_next(two, 0));
	}
	popularity_free(one);
	popularity_free(two);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_twice),
		cmocka_unit_test(test_one),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_drift),
		cmocka_unit_test(test_the_same_seed_gives_the_same_draws),
	};

	return cmocka_run_group_tests_name("popularity", tests, NULL, NULL);
}
