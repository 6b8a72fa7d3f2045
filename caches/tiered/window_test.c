#include "caches/tiered/window.h"

#include "base/unit_test.h"

#define KEYS ((size_t)1024)

/* Adds keys first, first + 1, …; returns how many of them were there before. */
static size_t
see(struct window *window, uint64_t first, size_t count)
{
	size_t seen = 0;

	for (uint64_t number = first; number < first + count; number++) {
		struct digest_value digest = {.length = 16};
		uint64_t mixed = checksum64(bytes_make(&number, sizeof(number)));

		memcpy(digest.bytes, &mixed, sizeof(mixed));
		seen += window_see(window, &digest);
	}
	return seen;
}

static void
test_the_second_time(void **state)
{
	struct window window;

	(void)state;
	assert_true(window_init(&window, KEYS));
	assert_int_equal(see(&window, 0, 100), 0);
	assert_int_equal(see(&window, 0, 100), 100);
	assert_int_equal(see(&window, 50, 100), 50);
	window_fini(&window);
}

static void
test_a_scan_is_seen_once(void **state)
{
	struct window window;

	(void)state;
	assert_true(window_init(&window, KEYS));
	assert_int_equal(see(&window, 0, 100 * KEYS), 0);
	assert_in_range(see(&window, 0, KEYS), 0, 1); /* forgotten again */
	window_fini(&window);
}

static void
test_how_many_are_remembered(void **state)
{
	struct window window;

	(void)state;
	assert_true(window_init(&window, KEYS));
	(void)see(&window, 0, 20 * KEYS);
	assert_in_range(see(&window, 20 * KEYS - KEYS / 5, KEYS / 5), KEYS / 5 - 2, KEYS / 5);
	window_fini(&window);
}

/* A key that comes back in time stays, however many others pass. */
static void
test_the_latest_stay(void **state)
{
	struct window window;

	(void)state;
	assert_true(window_init(&window, KEYS));
	(void)see(&window, 0, 1);
	for (uint64_t i = 1; i <= 1000; i++) {
		(void)see(&window, i * KEYS, KEYS / 16);
		assert_int_equal(see(&window, 0, 1), 1);
	}
	window_fini(&window);
}

static void
test_small_ones(void **state)
{
	struct window window;
	struct digest_value zeros = {.length = 16};

	(void)state;
	assert_true(window_init(&window, 1));
	assert_false(window_see(&window, &zeros)); /* its mark would be that of a free slot */
	assert_true(window_see(&window, &zeros));
	assert_int_equal(see(&window, 1, WINDOW_WAYS), 0);
	assert_false(window_see(&window, &zeros));
	window_fini(&window);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_second_time),
		cmocka_unit_test(test_a_scan_is_seen_once),
		cmocka_unit_test(test_how_many_are_remembered),
		cmocka_unit_test(test_the_latest_stay),
		cmocka_unit_test(test_small_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
