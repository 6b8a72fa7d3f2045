#include "measure/comparison.h"

#include "base/unit_test.h"

#include <math.h>
#include <stdlib.h>

/* A comparison of three rounds in which a request takes 10, a hit `hit`, and a new request 10 and with the cache so. */
static struct comparison *
make(double hit, double first, double second, double third)
{
	struct comparison *comparison = calloc(1, sizeof(*comparison));
	const double news[] = {first, second, third};

	assert_non_null(comparison);
	comparison->rounds = 3;
	comparison->has[VARIANT_NONE] = comparison->has[VARIANT_LOCAL] = true;
	for (size_t i = 0; i < 3; i++) {
		comparison->cells[VARIANT_NONE][WORKLOAD_REPEATED][0].means[i] = 10;
		comparison->cells[VARIANT_NONE][WORKLOAD_NEW][0].means[i] = 10;
		comparison->cells[VARIANT_LOCAL][WORKLOAD_REPEATED][0].means[i] = hit;
		comparison->cells[VARIANT_LOCAL][WORKLOAD_NEW][0].means[i] = news[i];
	}
	return comparison;
}

static void
expect(struct comparison *comparison, double low, double median, double high)
{
	struct estimate ratio = comparison_break_even(comparison, VARIANT_LOCAL);

	assert_true(fabs(ratio.low - low) < 1e-9 && fabs(ratio.median - median) < 1e-9 &&
		    fabs(ratio.high - high) < 1e-9);
	free(comparison);
}

/* A hit saves 9: a miss that costs 1 needs one hit of ten. Rounds in which it seems to save time are noise. */
static void
test_break_even(void **state)
{
	(void)state;
	expect(make(1, 11, 11, 11), 0.1, 0.1, 0.1);
	expect(make(1, 5, 11, 19), 0, 0.1, 0.5);
	expect(make(1, 9, 8, 7), 0, 0, 0);
	expect(make(10, 11, 11, 11), 2, 2, 2);
}

static void
test_names(void **state)
{
	struct comparison *comparison = make(1, 11, 11, 11);

	(void)state;
	assert_string_equal(workload_name(comparison, WORKLOAD_NEW), "new requests");
	comparison->new_is_known = true;
	assert_string_equal(workload_name(comparison, WORKLOAD_NEW), "all inputs in turn");
	free(comparison);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_break_even), cmocka_unit_test(test_names)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
