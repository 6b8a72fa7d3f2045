#include "wire/history_report.h"

#include "base/unit_test.h"

static enum status
decode(const char *json, size_t seconds, struct history_report *report)
{
	struct error error;

	return history_report_decode(bytes_text(json), seconds, report, &error);
}

/* Fields have their names, in whichever order; unknown ones do not matter. */
static void
test_sums(void **state)
{
	static const char json[] =
		"{\"fields\":[\"time_ms\",\"requests\",\"hits\",\"joined\",\"misses\",\"new\",\"hit_p50_us\","
		"\"entries\"],\"samples\":[[1000,1,1,0,0,9,5,1],[2000,10,5,1,4,9,7,2],[3000,20,10,2,8,9,0,3]]}";
	struct history_report report;

	(void)state;
	assert_int_equal(decode(json, 2, &report), STATUS_OK);
	assert_int_equal(report.seconds, 2);
	assert_int_equal(report.last_ms, 3000);
	assert_int_equal(report.requests, 30);
	assert_int_equal(report.hits, 18);
	assert_int_equal(report.rows, 30);
	assert_int_equal(report.hit_p50_us, 7); /* nothing was hit in the last second */
	assert_int_equal(report.entries, 3);
	assert_int_equal(report.evictions, 0);
	assert_int_equal(decode(json, 100, &report), STATUS_OK);
	assert_int_equal(report.seconds, 3);
}

static void
test_strange_documents(void **state)
{
	static const char *const good[] = {"{\"fields\":[],\"samples\":[]}",
					   "{\"fields\":[7],\"samples\":[7,[],[\"a\"],{}]}",
					   "{\"fields\":[\"time_ms\"],\"samples\":[[-1]]}"};
	static const char *const bad[] = {"", "{}", "[]", "{\"fields\":[]}", "{\"fields\":7,\"samples\":[]}"};
	struct history_report report;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_int_equal(decode(good[i], 5, &report), STATUS_OK);
		assert_int_equal(report.requests, 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_not_equal(decode(bad[i], 5, &report), STATUS_OK);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums), cmocka_unit_test(test_strange_documents)};

	return cmocka_run_group_tests_name("history_report", tests, NULL, NULL);
}
