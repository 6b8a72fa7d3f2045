#include "wire/cache_control.h"

#include "base/unit_test.h"

static void
test_directives(void **state)
{
	struct cache_control control = cache_control_parse(bytes_text(
		" No-Cache , no-store,only-if-cached, max-age = 60,\tmax-stale=\"5\", foo=bar, no-transform"));

	(void)state;
	assert_true(control.no_cache && control.no_store && control.only_if_cached);
	assert_true(control.has_max_age && control.max_age_s == 60);
	assert_true(control.has_max_stale && control.max_stale_s == 5);
	control = cache_control_parse(bytes_text("max-stale"));
	assert_true(control.has_max_stale && control.max_stale_s == UINT64_MAX);
	assert_false(control.no_cache || control.no_store || control.only_if_cached || control.has_max_age);
}

static void
test_what_is_wrong_is_left_out(void **state)
{
	static const char *const fields[] = {
		"", ",", "=", "max-age", "max-age=", "max-age=-1", "max-age=1x", ",,=,", "no-cachex", "max-age=\""};

	(void)state;
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		struct cache_control control = cache_control_parse(bytes_text(fields[i]));

		assert_false(control.no_cache || control.has_max_age || control.has_max_stale);
	}
	assert_int_equal(cache_control_parse(bytes_text("max-age=99999999999999999999999")).max_age_s, 1U << 31);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directives),
		cmocka_unit_test(test_what_is_wrong_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
