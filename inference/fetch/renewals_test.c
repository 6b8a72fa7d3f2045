#include "inference/fetch/renewals.h"

#include "base/unit_test.h"

#define START UINT64_C(1764000000000)

static struct renewals renewals;
static const struct digest_value key = {.bytes = {1, 2, 3, 4, 5, 6, 7, 8}, .length = 16};
static const struct digest_value other = {.bytes = {9, 9, 9, 9, 9, 9, 9, 9}, .length = 16};

static int
clear(void **state)
{
	(void)state;
	renewals = (struct renewals){0};
	return 0;
}

/* The store keeps nothing: the answer that is found stays the old one. */
static void
test_ever_less_often(void **state)
{
	uint64_t begun = 0;

	(void)state;
	for (uint64_t ms = 0; ms < 600000; ms += 50) {
		begun += renewals_begin(&renewals, &key, START - 5000, START + ms);
	}
	assert_in_range(begun, 10, 20); /* at 0, 1, 3, 7, 15, 31, 63, 127, … s */
	assert_true(renewals_begin(&renewals, &other, START - 5000, START));
}

/* The result of a renewal is stored, and stale by now: the next renewal begins at once. */
static void
test_kept(void **state)
{
	(void)state;
	for (uint64_t ms = 0; ms < 60000; ms += 1000) {
		assert_true(renewals_begin(&renewals, &key, ms == 0 ? START - 5000 : START + ms - 900, START + ms));
		assert_false(renewals_begin(&renewals, &key, START + ms - 900, START + ms + 20));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ever_less_often, clear),
		cmocka_unit_test_setup(test_kept, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
