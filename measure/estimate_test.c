#include "measure/estimate.h"

#include "base/unit_test.h"

#include <math.h>
#include <stdbool.h>

static bool
is(double value, double expected)
{
	return fabs(value - expected) < 1e-9;
}

static void
test_medians(void **state)
{
	const double odd[] = {5, 1, 3};
	const double even[] = {4, 1, 2, 3};

	(void)state;
	assert_true(is(estimate_of(odd, 3).median, 3));
	assert_true(is(estimate_of(even, 4).median, 2.5));
	assert_true(is(estimate_of(odd, 1).median, 5));
	assert_true(is(estimate_of(NULL, 0).median, 0) && is(estimate_of(NULL, 0).confidence, 0));
}

/* The confidences are those of tables of the sign test. */
static void
test_intervals(void **state)
{
	const double values[] = {7, 3, 9, 1, 5, 2, 8, 4, 10, 6, 12, 11};
	struct estimate estimate = estimate_of(values, 3);

	(void)state;
	assert_true(is(estimate.low, 3) && is(estimate.high, 9) && is(estimate.confidence, 0.75));
	estimate = estimate_of(values, 6); /* 1 2 3 5 7 9 */
	assert_true(is(estimate.low, 1) && is(estimate.high, 9) && is(estimate.confidence, 0.96875));
	estimate = estimate_of(values, 9); /* from the second to the eighth */
	assert_true(is(estimate.low, 2) && is(estimate.high, 9) && is(estimate.confidence, 0.9609375));
	estimate = estimate_of(values, 12);
	assert_true(is(estimate.low, 3) && is(estimate.high, 10) && fabs(estimate.confidence - 0.961426) < 1e-6);
}

static void
test_ratios(void **state)
{
	const double values[] = {10, 40, 90};
	const double others[] = {10, 20, 0};

	(void)state;
	assert_true(is(estimate_ratio(values, others, 2).median, 1.5));
	assert_true(is(estimate_ratio(values, others, 3).median, 1.5)); /* nothing to divide by */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_medians), cmocka_unit_test(test_intervals),
					   cmocka_unit_test(test_ratios)};

	return cmocka_run_group_tests_name("estimate", tests, NULL, NULL);
}
