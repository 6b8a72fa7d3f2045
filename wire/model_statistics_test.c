#include "wire/model_statistics.h"

#include "base/unit_test.h"

static void
test_decode(void **state)
{
	struct model_statistics statistics;
	struct error error;

	(void)state;
	assert_int_equal(model_statistics_decode(
				 bytes_text("{\"model_stats\":[{\"inference_count\":3,\"execution_count\":2,"
					    "\"inference_stats\":{\"success\":{\"count\":5,\"ns\":50},\"cache_hit\":"
					    "{\"count\":2,\"ns\":9}}},{\"inference_count\":1}]}"),
				 &statistics, &error),
			 STATUS_OK);
	assert_int_equal(statistics.inferences, 4);
	assert_int_equal(statistics.executions, 2);
	assert_int_equal(statistics.durations[STATISTICS_SUCCESS].count, 5);
	assert_int_equal(statistics.durations[STATISTICS_SUCCESS].ns, 50);
	assert_int_equal(statistics.durations[STATISTICS_CACHE_HIT].ns, 9);
	assert_int_equal(statistics.durations[STATISTICS_QUEUE].count, 0);
	assert_int_not_equal(model_statistics_decode(bytes_text("{}"), &statistics, &error), STATUS_OK);
	assert_int_not_equal(model_statistics_decode(bytes_text("["), &statistics, &error), STATUS_OK);
	assert_int_equal(model_statistics_decode(bytes_text("{\"model_stats\":[7]}"), &statistics, &error), STATUS_OK);
	assert_int_equal(statistics.inferences, 0);
}

static void
test_between(void **state)
{
	struct model_statistics before = {.inferences = 10, .durations[STATISTICS_QUEUE] = {5, 500}};
	struct model_statistics after = {.inferences = 12, .durations[STATISTICS_QUEUE] = {6, 600}};
	struct model_statistics between = model_statistics_between(&before, &after);

	(void)state;
	assert_int_equal(between.inferences, 2);
	assert_int_equal(between.durations[STATISTICS_QUEUE].count, 1);
	assert_int_equal(between.durations[STATISTICS_QUEUE].ns, 100);
	between = model_statistics_between(&after, &before); /* was started again */
	assert_int_equal(between.inferences, 0);
	assert_int_equal(between.durations[STATISTICS_QUEUE].ns, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_decode), cmocka_unit_test(test_between)};

	return cmocka_run_group_tests_name("model_statistics", tests, NULL, NULL);
}
