#include "inference/cache/freshness.h"

#include "base/unit_test.h"

static const struct cache_directives no_wish;

static void
test_lifetime_and_windows(void **state)
{
	const struct freshness_policy policy = {.ttl_ms = 10000, .revalidate_ms = 5000, .on_error_ms = 20000};
	const struct freshness_entry entry = {.created_ms = 1000, .lifetime_ms = 10000, .cost_us = 1000};
	bool on_error;

	(void)state;
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 10999, 0.5, &on_error), FRESHNESS_USE);
	assert_false(on_error);
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 11000, 0.5, &on_error), FRESHNESS_REVALIDATE);
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 16000, 0.5, &on_error), FRESHNESS_STALE);
	assert_true(on_error);
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 31000, 0.5, &on_error), FRESHNESS_STALE);
	assert_false(on_error);
	assert_int_equal(freshness_keep_ms(&policy, 10000), 30000);
	assert_int_equal(freshness_keep_ms(&policy, 0), 0);
	assert_int_equal(freshness_left_ms(&entry, 10000, 4000), 7000);
	assert_int_equal(freshness_left_ms(&entry, 10000, 500), 10000); /* a clock that lags */
	assert_int_equal(freshness_left_ms(&entry, 10000, 11000), 1);
	assert_int_equal(freshness_left_ms(&entry, 0, 11000), 0);
	assert_true(freshness_is_fresh(&entry, 10999));
	assert_false(freshness_is_fresh(&entry, 11000));
}

static void
test_directives(void **state)
{
	const struct freshness_policy policy = {.ttl_ms = 10000};
	const struct freshness_entry entry = {.created_ms = 0, .lifetime_ms = 10000, .cost_us = 1000};
	const struct freshness_entry endless = {.created_ms = 0, .cost_us = 1000};
	struct cache_directives wish = {.has_max_age = true, .max_age_s = 5};
	bool on_error;

	(void)state;
	assert_int_equal(freshness_judge(&policy, &wish, &entry, 5999, 0.5, &on_error), FRESHNESS_USE);
	assert_int_equal(freshness_judge(&policy, &wish, &entry, 6000, 0.5, &on_error), FRESHNESS_TOO_OLD);
	assert_int_equal(freshness_judge(&policy, &wish, &endless, 6000, 0.5, &on_error), FRESHNESS_TOO_OLD);
	wish.max_age_s = 0;
	assert_int_equal(freshness_judge(&policy, &wish, &entry, 0, 0.5, &on_error), FRESHNESS_TOO_OLD);
	wish = (struct cache_directives){.has_max_stale = true, .max_stale_s = 3};
	assert_int_equal(freshness_judge(&policy, &wish, &entry, 13000, 0.5, &on_error), FRESHNESS_USE);
	assert_int_equal(freshness_judge(&policy, &wish, &entry, 14000, 0.5, &on_error), FRESHNESS_STALE);
	/* A clock that was set back does not make an entry old. */
	assert_int_equal(freshness_judge(&policy, &no_wish,
					 &(struct freshness_entry){.created_ms = 99, .lifetime_ms = 1}, 0, 0.5,
					 &on_error),
			 FRESHNESS_USE);
}

/* XFetch refreshes near the end of the lifetime, by chance and cost; never an entry that cost nothing. */
static void
test_refresh_ahead(void **state)
{
	const struct freshness_policy policy = {.ttl_ms = 10000, .refresh_ahead = 1};
	struct freshness_entry entry = {.lifetime_ms = 10000, .cost_us = 1000000};
	bool on_error;

	(void)state;
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 9500, 0.5, &on_error), FRESHNESS_REVALIDATE);
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 9000, 0.5, &on_error), FRESHNESS_USE);
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 9500, 0.99, &on_error), FRESHNESS_USE);
	entry.cost_us = 0;
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 9999, 0.001, &on_error), FRESHNESS_USE);
}

static void
test_jitter(void **state)
{
	const struct freshness_policy policy = {.ttl_ms = 10000};

	(void)state;
	assert_in_range(freshness_lifetime_ms(&policy, 0.0001), 9000, 9001);
	assert_in_range(freshness_lifetime_ms(&policy, 1), 10999, 11000);
	assert_int_equal(freshness_lifetime_ms(&(struct freshness_policy){0}, 1), 0);
}

/* An entry dated in the future does not count as new, which would extend its lifetime. */
static void
test_clocks_apart(void **state)
{
	static const struct freshness_policy policy = {.ttl_ms = 10000};
	static const struct cache_directives wish = {.has_max_age = true, .max_age_s = 60};
	static const struct freshness_entry entry = {.created_ms = 100000, .lifetime_ms = 10000};
	static const struct freshness_entry endless = {.created_ms = 100000};
	bool on_error;

	(void)state;
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 99000, 0.5, &on_error), FRESHNESS_USE);
	assert_int_equal(freshness_judge(&policy, &no_wish, &entry, 98999, 0.5, &on_error), FRESHNESS_TOO_OLD);
	assert_false(freshness_is_fresh(&entry, 98999));
	assert_int_equal(freshness_judge(&policy, &no_wish, &endless, 1000, 0.5, &on_error), FRESHNESS_USE);
	assert_int_equal(freshness_judge(&policy, &wish, &endless, 1000, 0.5, &on_error), FRESHNESS_TOO_OLD);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lifetime_and_windows), cmocka_unit_test(test_directives),
		cmocka_unit_test(test_refresh_ahead),	     cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_clocks_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
