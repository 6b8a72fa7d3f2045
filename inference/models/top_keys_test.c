#include "inference/models/top_keys.h"

#include "base/unit_test.h"

#include <math.h>

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
	static struct top_keys keys;
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

/* A mixer of bits, as keys are digests: that of SplitMix64. */
static uint64_t
key_of(uint64_t number)
{
	number = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
	number = (number ^ (number >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	number = (number ^ (number >> 27)) * UINT64_C(0x94d049bb133111eb);
	return number ^ (number >> 31);
}

#define MANY 100000
#define DRAWS 200000

/* Of a hundred thousand keys by Zipf's law (exponent 0.9) the first ones are told, in order, and nearly exactly. */
static void
test_heavy_keys_are_found_among_many(void **state)
{
	static struct top_keys keys;
	static double cumulated[MANY];
	static uint32_t asked[MANY];
	struct top_key_list list;
	double sum = 0;

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		sum += pow((double)(i + 1), -0.9);
		cumulated[i] = sum;
	}
	for (uint64_t i = 0; i < DRAWS; i++) {
		double draw = ldexp((double)(key_of(MANY + i) >> 11), -53) * sum;
		size_t low = 0;
		size_t high = MANY - 1;

		while (low < high) {
			size_t middle = (low + high) / 2;

			if (cumulated[middle] > draw) {
				high = middle;
			} else {
				low = middle + 1;
			}
		}
		asked[low]++;
		top_keys_add(&keys, key_of(low), 10, 1, 1);
	}
	list = told(&keys, NULL);
	for (size_t i = 0; i < 6; i++) {
		assert_true(list.at[i].key == key_of(i));
		assert_in_range(list.at[i].count, asked[i] * 9 / 10, asked[i]);
		assert_int_equal(list.at[i].us, list.at[i].count * 10);
	}
}

static void
test_equal_keys_of_several_are_added(void **state)
{
	static struct top_keys one;
	static struct top_keys two;
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
	static struct top_keys busy;
	static struct top_keys idle;
	struct top_key_list list;

	(void)state;
	for (uint64_t i = 0; i < TOP_KEYS_TOLD; i++) {
		top_keys_add(&busy, i, 1000 + i, 1, 1);
		top_keys_add(&idle, 100 + i, 1, 1, 1);
	}
	list = told(&busy, &idle);
	assert_int_equal(list.count, 2 * TOP_KEYS_TOLD);
	for (uint64_t i = 0; i < TOP_KEYS_TOLD; i++) {
		assert_int_equal(list.at[i].us, 1000 + TOP_KEYS_TOLD - 1 - i);
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
