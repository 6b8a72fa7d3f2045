#include "wire/cache_report.h"

#include "base/unit_test.h"

static enum status
decode(const char *json, struct arena *arena, struct cache_report *report)
{
	struct error error;

	return cache_report_decode(bytes_text(json), arena, report, &error);
}

static void
test_a_report(void **state)
{
	struct cache_report report;
	struct arena arena;

	(void)state;
	arena_init(&arena, 1 << 16);
	assert_int_equal(decode("{\"store\":\"local\",\"description\":\"local, 10 bytes\",\"configuration\":"
				"{\"size\":\"10\",\"ttl\":\"-1\"},\"models\":[{\"name\":\"m\",\"version\":\"3\","
				"\"lookups\":9,\"hits\":4,\"misses\":3,\"joined\":2,\"bypassed\":1,\"errors\":5,"
				"\"hit_ratio\":0.4,\"granularity\":\"row\"},{\"name\":\"n\"}],\"lookups\":9,"
				"\"hits\":4,\"capacity_bytes\":10,\"used_bytes\":7,\"entries\":6,\"inserts\":3,"
				"\"dropped\":2,\"evictions\":1,\"lookup_failures\":8}",
				&arena, &report),
			 STATUS_OK);
	assert_true(bytes_equal(report.description, bytes_text("local, 10 bytes")));
	assert_int_equal(report.setting_count, 2);
	assert_true(bytes_equal(report.settings[1].name, bytes_text("ttl")));
	assert_true(bytes_equal(report.settings[1].value, bytes_text("-1")));
	assert_int_equal(report.model_count, 2);
	assert_true(bytes_equal(report.models[0].version, bytes_text("3")));
	assert_true(bytes_equal(report.models[0].granularity, bytes_text("row")));
	assert_int_equal(report.models[0].joined, 2);
	assert_int_equal(report.models[0].errors, 5);
	assert_int_equal(report.models[1].lookups, 0);
	assert_int_equal(report.models[1].version.length, 0);
	assert_int_equal(report.lookup_failures, 8);
	assert_int_equal(report.used_bytes, 7);
	arena_fini(&arena);
}

static void
test_no_report(void **state)
{
	static const char *const bad[] = {"", "[]", "{}", "7", "{\"models\":{}}", "{\"models\":[]"};
	struct cache_report report;
	struct arena arena;

	(void)state;
	arena_init(&arena, 1 << 16);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(decode(bad[i], &arena, &report), STATUS_INTERNAL);
	}
	assert_int_equal(decode("{\"models\":[1,null,{\"name\":7,\"lookups\":\"x\"}]}", &arena, &report), STATUS_OK);
	assert_int_equal(report.model_count, 3);
	assert_int_equal(report.models[2].name.length, 0);
	arena_fini(&arena);
}

static void
test_no_memory(void **state)
{
	struct cache_report report;
	struct arena arena;

	(void)state;
	arena_init(&arena, 64);
	assert_int_equal(decode("{\"models\":[{},{},{},{}]}", &arena, &report), STATUS_UNAVAILABLE);
	arena_fini(&arena);
}

static void
test_purged(void **state)
{
	struct error error;
	uint64_t removed;

	(void)state;
	assert_int_equal(cache_purged_decode(bytes_text("{\"purged\":18446744073709551615}"), &removed, &error),
			 STATUS_OK);
	assert_true(removed == UINT64_MAX);
	assert_int_equal(cache_purged_decode(bytes_text("{\"purged\":-1}"), &removed, &error), STATUS_INTERNAL);
	assert_int_equal(cache_purged_decode(bytes_text("{}"), &removed, &error), STATUS_INTERNAL);
	assert_int_equal(cache_purged_decode(bytes_text(""), &removed, &error), STATUS_INTERNAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_report),
		cmocka_unit_test(test_no_report),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_purged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
