#include "app/top_table.h"

#include "base/unit_test.h"

static void
expect(const struct watched_server *servers, size_t count, size_t room, const char *text)
{
	struct buf out;

	buf_init(&out, 1 << 16);
	top_table_write(servers, count, room, &out);
	buf_byte(&out, '\0');
	assert_string_equal((const char *)out.at, text);
	buf_fini(&out);
}

static void
test_servers_and_models(void **state)
{
	struct cache_report_model models[] = {
		{.lookups = 10, .hits = 5, .joined = 1, .saved_seconds = 0.5},
		{.lookups = 20000, .hits = 15000, .saved_seconds = 90, .errors = 3},
	};
	struct watched_server servers[] = {
		{.url = "http://a:8002",
		 .is_known = true,
		 .history = {.seconds = 5,
			     .requests = 12345,
			     .hits = 3,
			     .rows = 4,
			     .hit_p50_us = 85,
			     .hit_p99_us = 1270,
			     .model_p50_us = 35000,
			     .model_p99_us = 2000000,
			     .saved_us = 5000000,
			     .entries = 1234567,
			     .used_bytes = 50,
			     .evictions = 10,
			     .failures = 5},
		 .cache = {.capacity_bytes = 100, .models = models, .model_count = 2}},
		{.url = "b",
		 .failure = "Connection refused",
		 .is_known = true,
		 .cache = {.models = models, .model_count = 2}},
		{.url = "c", .is_known = true, .cache = {.models = models, .model_count = 1}},
		{.url = "d"},
	};

	(void)state;
	models[0].name = bytes_text("m\x01");
	models[1].name = bytes_text("n");
	expect(servers, 4, SIZE_MAX,
	       "SERVER         REQ/S   HITS HIT p50 HIT p99 MODEL p50 MODEL p99 SAVED/S ENTRIES MEMORY EVICT/S FAIL/S\n"
	       "http://a:8002  2.47k  75.0%    85us  1.27ms      35ms     2.00s   1.00s   1.23M  50.0%       2      1\n"
	       "b              Connection refused\n"
	       "c                  0      -       -       -         -         -       -       0      -       0      0\n"
	       "d              asked\n"
	       "\n"
	       "MODEL    ASKED     HITS   JOINED   RATIO   ERRORS        SAVED\n"
	       "n        20.0k    15.0k        0   75.0%        3          90s\n"
	       "m?          20       10        2   60.0%        0        1.00s\n");
}

static void
test_without_a_cache(void **state)
{
	const struct watched_server server = {.url = "a", .is_known = true};

	(void)state;
	expect(&server, 1, SIZE_MAX,
	       "SERVER  REQ/S   HITS HIT p50 HIT p99 MODEL p50 MODEL p99 SAVED/S ENTRIES MEMORY EVICT/S FAIL/S\n"
	       "a           0      -       -       -         -         -       -       0      -       0      0\n");
}

/* The less important columns make room. */
static void
test_a_narrow_terminal(void **state)
{
	const struct watched_server server = {.url = "http://a.example.org:8002", .is_known = true};

	(void)state;
	expect(&server, 1, 80,
	       "SERVER                     REQ/S   HITS HIT p99 MODEL p99 SAVED/S MEMORY FAIL/S\n"
	       "http://a.example.org:8002      0      -       -         -       -      -      0\n");
	expect(&server, 1, 10,
	       "SERVER                     REQ/S   HITS HIT p99 MODEL p99 FAIL/S\n"
	       "http://a.example.org:8002      0      -       -         -      0\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_servers_and_models),
					   cmocka_unit_test(test_without_a_cache),
					   cmocka_unit_test(test_a_narrow_terminal)};

	return cmocka_run_group_tests_name("top table", tests, NULL, NULL);
}
