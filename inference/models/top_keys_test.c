#include "inference/models/top_keys.h"

#include "base/unit_test.h"

static struct top_key_list
told(const struct top_keys *one, const struct top_keys *two)
{
	struct top_key_list list = {.count = 0};

	top_key_list_add(&list, one);
	if (two != NULL) {
		top_key_list_add(&list, two);
	}
	top_key_list_sort(&list);
	return list;
}

static void
test_few_keys_are_counted_exactly(void **state)
{
	struct top_keys keys = {.count = 0};
	struct top_key_list list;

	(void)state;
	top_keys_add(&keys, 7, 100, 1, 10);
	top_keys_add(&keys, 8, 1000, 1, 20);
	top_keys_add(&keys, 7, 200, 8, 30);
	list = told(&keys, NULL);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.at[0].key, 7);
	assert_int_equal(list.at[0].us, 1700);
	assert_int_equal(list.at[0].count, 9);
	assert_int_equal(list.at[0].bytes, 30);
	assert_int_equal(list.at[1].key, 8);
}

/* Of a stream in which a few keys have half of the weight, these are found, and nothing is told that was not. */
static void
test_heavy_keys_are_found_among_many(void **state)
{
	struct top_keys keys = {.count = 0};
	struct top_key_list list;

	(void)state;
	for (uint64_t i = 0; i < 30000; i++) {
		top_keys_add(&keys, i % 2 == 0 ? i % 6 : 1000 + i, 10, 1, 1);
	}
	list = told(&keys, NULL);
	for (size_t i = 0; i < list.count; i++) {
		if (i < 3) {
			assert_true(list.at[i].key < 6);
			assert_in_range(list.at[i].us, 45000, 50000); /* each has 5,000 times 10 */
		} else {
			assert_int_equal(list.at[i].count, 1);
		}
	}
}

static void
test_equal_keys_of_several_are_added(void **state)
{
	struct top_keys one = {.count = 0};
	struct top_keys two = {.count = 0};
	struct top_key_list list;

	(void)state;
	top_keys_add(&one, 1, 10, 3, 5);
	top_keys_add(&two, 1, 10, 1, 5);
	top_keys_add(&two, 2, 15, 1, 6);
	list = told(&one, &two);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.at[0].key, 1);
	assert_int_equal(list.at[0].us, 40);
	assert_int_equal(list.at[0].count, 4);
	assert_int_equal(list.at[1].us, 15);
}

/* A loop that has done little takes no place from one that has done much. */
static void
test_the_heavy_ones_come_first(void **state)
{
	struct top_keys busy = {.count = 0};
	struct top_keys idle = {.count = 0};
	struct top_key_list list;

	(void)state;
	for (uint64_t i = 0; i < TOP_KEYS; i++) {
		top_keys_add(&busy, i, 1000 + i, 1, 1);
		top_keys_add(&idle, 100 + i, 1, 1, 1);
	}
	list = told(&busy, &idle);
	assert_int_equal(list.count, 2 * TOP_KEYS);
	for (uint64_t i = 0; i < TOP_KEYS; i++) {
		assert_int_equal(list.at[i].us, 1000 + TOP_KEYS - 1 - i);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_keys_are_counted_exactly),
		cmocka_unit_test(test_heavy_keys_are_found_among_many),
		cmocka_unit_test(test_equal_keys_of_several_are_added),
		cmocka_unit_test(test_the_heavy_ones_come_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
