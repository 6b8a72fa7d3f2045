#include "server/history.h"

#include "base/unit_test.h"
#include "inference/models/model.h"

static struct model model;
static struct model *versions[] = {&model};
static struct model_table_entry entries[1];
static struct model_table *table;

static int
setup(void **state)
{
	(void)state;
	model.statistics = statistics_new(1);
	entries[0].versions = versions;
	entries[0].version_count = 1;
	table = calloc(1, sizeof(*table));
	table->entries = entries;
	table->count = 1;
	return table == NULL;
}

static int
teardown(void **state)
{
	(void)state;
	statistics_unref(model.statistics);
	free(table);
	return 0;
}

static void
answer(size_t count, uint64_t ns, enum latency_outcome outcome)
{
	struct model_statistics *sums = statistics_begin(model.statistics, 0);

	for (size_t i = 0; i < count; i++) {
		duration_add(&sums->success, ns);
		latency_add(&sums->latencies[outcome], ns);
	}
	sums->hits += outcome == LATENCY_HIT ? count : 0;
	sums->misses += outcome == LATENCY_MODEL ? count : 0;
	statistics_end(model.statistics, 0);
}

static void
expect(struct history *history, uint64_t since_ms, const char *samples)
{
	struct buf json;

	buf_init(&json, 1 << 20);
	history_write(history, since_ms, &json);
	assert_true(buf_ok(&json));
	buf_byte(&json, '\0');
	assert_string_equal(strstr((const char *)json.at, "\"samples\""), samples);
	buf_fini(&json);
}

static void
test_each_second_has_its_own(void **state)
{
	const struct cache_statistics cache = {.entries = 3, .used_bytes = 300, .evictions = 5};
	const struct cache_statistics later = {.entries = 4, .used_bytes = 400, .evictions = 7};
	struct history *history = history_new();

	(void)state;
	expect(history, 0, "\"samples\":[]");
	history_sample(history, table, &cache, 1000);
	answer(2, 4500, LATENCY_HIT);		/* from 4 to 5 us */
	answer(1, 40500 * 1000, LATENCY_MODEL); /* from 40,960 to 49,152 us */
	history_sample(history, table, &later, 2000);
	history_sample(history, table, NULL, 3000);
	expect(history, 0,
	       "\"samples\":[[1000,0,0,0,0,0,0,0,0,0,0,0,0,3,300,5],"
	       "[2000,3,0,2,0,1,0,0,0,4,4,36864,40878,4,400,2],[3000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]]");
	expect(history, 2000, "\"samples\":[[3000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]]");
	expect(history, 3000, "\"samples\":[]");
	history_free(history);
}

/* What a model has counted goes with it. */
static void
test_an_unloaded_model(void **state)
{
	struct history *history = history_new();

	(void)state;
	answer(5, 1000, LATENCY_HIT);
	history_sample(history, table, NULL, 1000);
	table->count = 0;
	history_sample(history, table, NULL, 2000);
	table->count = 1;
	expect(history, 1000, "\"samples\":[[2000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]]");
	history_free(history);
}

static void
test_the_oldest_is_dropped(void **state)
{
	struct history *history = history_new();
	struct buf json;

	(void)state;
	buf_init(&json, 1 << 20);
	for (uint64_t i = 1; i <= HISTORY_SECONDS + 5; i++) {
		history_sample(history, table, NULL, i * 1000);
	}
	history_write(history, 0, &json);
	buf_byte(&json, '\0');
	assert_non_null(strstr((const char *)json.at, "\"samples\":[[6000,"));
	assert_non_null(strstr((const char *)json.at, ",[605000,"));
	buf_fini(&json);
	history_free(history);
}

static void
test_quantiles(void **state)
{
	struct latency_counts counts = {0};

	(void)state;
	assert_true(latency_quantile(&counts, 0.5) == 0);
	for (uint64_t us = 0; us < 1 << 20; us = us * 9 / 8 + 1) {
		struct latency_counts one = {0};

		latency_add(&one, us * 1000);
		assert_true(latency_quantile(&one, 0.01) <= (double)us + (double)us / 4 + 1);
		assert_true(latency_quantile(&one, 1) > (double)us);
		assert_true(latency_quantile(&one, 1) <= (double)us + (double)us / 4 + 1);
	}
	latency_add(&counts, UINT64_MAX);
	assert_int_equal(counts.buckets[LATENCY_BUCKETS - 1], 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_second_has_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_unloaded_model, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_oldest_is_dropped, setup, teardown),
		cmocka_unit_test(test_quantiles),
	};

	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
