#include "inference/models/top_keys.h"

#include "base/unit_test.h"

static void
test_few_keys_are_counted_exactly(void **state)
{
	struct top_keys keys = {0};

	(void)state;
	top_keys_add(&keys, 7, 100, 1, 10);
	top_keys_add(&keys, 8, 1000, 1, 20);
	top_keys_add(&keys, 7, 200, 8, 30);
	top_keys_sort(&keys);
	assert_int_equal(keys.count, 2);
	assert_int_equal(keys.keys[0], 7);
	assert_int_equal(keys.at[0].us, 1700);
	assert_int_equal(keys.at[0].count, 9);
	assert_int_equal(keys.at[0].bytes, 30);
	assert_int_equal(keys.keys[1], 8);
}

/* Of a stream in which a few keys have half of the weight, these are found, and nothing is told that was not. */
static void
test_heavy_keys_are_found_among_many(void **state)
{
	struct top_keys keys = {0};
	uint64_t told = 0;

	(void)state;
	for (uint64_t i = 0; i < 30000; i++) {
		top_keys_add(&keys, i % 2 == 0 ? i % 6 : 1000 + i, 10, 1, 1);
	}
	top_keys_sort(&keys);
	for (size_t i = 0; i < 3; i++) {
		assert_true(keys.keys[i] < 6);
		assert_in_range(keys.at[i].us, 45000, 50000); /* each has 5,000 times 10 */
	}
	for (size_t i = 0; i < keys.count; i++) {
		told += keys.at[i].us;
		assert_true(i < 3 || keys.at[i].count == 1);
	}
	assert_true(told <= 300000);
}

static void
test_merged(void **state)
{
	struct top_keys one = {0};
	struct top_keys two = {0};
	struct top_keys sum = {0};

	(void)state;
	top_keys_add(&one, 1, 10, 3, 5);
	top_keys_add(&two, 1, 10, 1, 5);
	top_keys_add(&two, 2, 15, 1, 6);
	top_keys_merge(&sum, &one);
	top_keys_merge(&sum, &two);
	top_keys_sort(&sum);
	assert_int_equal(sum.count, 2);
	assert_int_equal(sum.keys[0], 1);
	assert_int_equal(sum.at[0].us, 40);
	assert_int_equal(sum.at[0].count, 4);
	assert_int_equal(sum.at[1].us, 15);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_keys_are_counted_exactly),
		cmocka_unit_test(test_heavy_keys_are_found_among_many),
		cmocka_unit_test(test_merged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
