#include "app/cache_print.h"

#include "base/unit_test.h"

#include <stdlib.h>
#include <string.h>

static void
check(void (*print)(const struct cache_report *report, FILE *out), const struct cache_report *report,
      const char *expected)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	print(report, out);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, expected);
	free(text);
}

static void
test_models(void **state)
{
	struct cache_report_model models[2] = {
		{.name = bytes_text("a_long_name"),
		 .version = bytes_text("12"),
		 .granularity = bytes_text("row"),
		 .lookups = 3,
		 .hits = 2,
		 .misses = 1},
		{.name = bytes_text("x\x1b[2J"),
		 .version = bytes_text("202401011200"),
		 .granularity = bytes_text("request")},
	};

	(void)state;
	check(cache_print_models, &(struct cache_report){.models = models, .model_count = 2},
	      "MODEL       VERSION    BY           LOOKUPS         HITS    RATIO       MISSES     JOINED   BYPASSED    "
	      " ERRORS\n"
	      "a_long_name 12         row                3            2   66.7 %            1          0          0    "
	      "      0\n"
	      "x?[2J       202401011200 request            0            0        -            0          0          0  "
	      "  "
	      "      0\n");
	check(cache_print_models, &(struct cache_report){0},
	      "MODEL VERSION    BY           LOOKUPS         HITS    RATIO       MISSES     JOINED   BYPASSED     "
	      "ERRORS\n");
}

static void
test_store(void **state)
{
	struct cache_report_setting settings[2] = {{bytes_text("size"), bytes_text("10")},
						   {bytes_text("ttl"), bytes_text("-1")}};
	struct cache_report report = {.description = bytes_text("local, 10 bytes"),
				      .settings = settings,
				      .setting_count = 2,
				      .capacity_bytes = 10,
				      .used_bytes = 7,
				      .entries = 1,
				      .lookups = 4,
				      .hits = 1};

	(void)state;
	check(cache_print_store, &report,
	      "store            local, 10 bytes\n"
	      "used             7 of 10 bytes\n"
	      "entries          1\n"
	      "lookups          4\n"
	      "hits             1   25.0 %\n"
	      "inserts          0\n"
	      "dropped          0\n"
	      "evictions        0\n"
	      "lookup failures  0\n"
	      "settings         size=10\n"
	      "                 ttl=-1\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),
		cmocka_unit_test(test_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
