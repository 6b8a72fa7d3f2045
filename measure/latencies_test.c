#include "measure/latencies.h"

#include "base/memory.h"
#include "base/unit_test.h"

#include <math.h>
#include <stdlib.h>

static void
test_empty(void **state)
{
	struct latencies *latencies = memory_new(sizeof(*latencies));

	(void)state;
	assert_true(latencies_percentile(latencies, 50) == 0 && latencies_mean(latencies) == 0 &&
		    latencies_deviation(latencies) == 0);
	free(latencies);
}

static void
test_each_value_is_found_again(void **state)
{
	struct latencies *latencies = memory_new(sizeof(*latencies));

	(void)state;
	for (uint64_t value = 0; value < UINT64_C(1) << LATENCIES_MAX_BITS; value = value * 21 / 20 + 1) {
		double found;

		*latencies = (struct latencies){0};
		latencies_add(latencies, value);
		found = latencies_percentile(latencies, 50);
		if (value < 256) {
			assert_true(found == (double)value);
		} else {
			assert_true(fabs(found - (double)value) <= (double)value / 128);
		}
	}
	*latencies = (struct latencies){0};
	latencies_add(latencies, UINT64_MAX); /* is counted as the longest */
	assert_true(latencies_percentile(latencies, 50) > ldexp(1, LATENCIES_MAX_BITS - 1));
	free(latencies);
}

static void
test_percentiles(void **state)
{
	struct latencies *latencies = memory_new(sizeof(*latencies));
	struct latencies *other = memory_new(sizeof(*other));

	(void)state;
	for (uint64_t i = 1; i <= 100; i++) {
		latencies_add(i % 2 == 0 ? latencies : other, i);
	}
	latencies_merge(latencies, other);
	assert_int_equal(latencies->count, 100);
	assert_true(latencies_percentile(latencies, 0) == 1);
	assert_true(latencies_percentile(latencies, 50) == 50);
	assert_true(latencies_percentile(latencies, 99) == 99);
	assert_true(latencies_percentile(latencies, 100) == 100);
	assert_true(fabs(latencies_mean(latencies) - 50.5) < 1e-9);
	assert_true(fabs(latencies_deviation(latencies) - 28.866) < 0.001);
	free(latencies);
	free(other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_each_value_is_found_again),
		cmocka_unit_test(test_percentiles),
	};

	return cmocka_run_group_tests_name("latencies", tests, NULL, NULL);
}
