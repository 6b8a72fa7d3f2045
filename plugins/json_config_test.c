#include "plugins/json_config.h"

#include "base/unit_test.h"

#include <string.h>

static void
expect(const char *json, size_t count, const char *const *keys_and_values)
{
	struct json_config configuration;
	struct error error = {0};

	if (json_config_read(json, &configuration, &error) != STATUS_OK) {
		fail_msg("%s: %s", json, error.text);
	}
	assert_int_equal(configuration.count, count);
	for (size_t i = 0; i < count; i++) {
		assert_string_equal(configuration.pairs[i].key, keys_and_values[2 * i]);
		assert_string_equal(configuration.pairs[i].value, keys_and_values[2 * i + 1]);
	}
	json_config_fini(&configuration);
}

#define EXPECT(json, count, ...) expect(json, count, (const char *const[]){__VA_ARGS__})

static void
test_what_triton_gives(void **state)
{
	(void)state;
	EXPECT("{}", 0, NULL);
	EXPECT("{\"foo\":\"bar\"}", 1, "foo", "bar");
	EXPECT("{\"pass\":\"secret=x,y\",\"foo\":\"baz\"}", 2, "pass", "secret=x,y", "foo", "baz");
	EXPECT("{\"size\": 1048576}", 1, "size", "1048576");
}

static void
test_all_of_json_that_may_be(void **state)
{
	(void)state;
	EXPECT(" {\t\"a\" : \"1\" ,\r\n\"b\":true,\"c\":false,\"d\":-1.5e3 } \n", 4, "a", "1", "b", "true", "c",
	       "false", "d", "-1.5e3");
	EXPECT("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", 1, "a", "\"\\/\b\f\n\r\t");
	EXPECT("{\"a\":\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00\"}", 1, "a", "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
	EXPECT("{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"}", 2, "a", "3", "b", "2");
	EXPECT("{\"\":\"\"}", 1, "", "");
}

static void
test_what_may_not_be(void **state)
{
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{",
		"{\"a\"",
		"{\"a\":",
		"{\"a\":}",
		"{\"a\":\"1\"",
		"{\"a\":\"1\",}",
		"{\"a\":\"1\"}x",
		"{\"a\":null}",
		"{\"a\":{}}",
		"{\"a\":[1]}",
		"{\"a\":truefalse}",
		"{a:\"1\"}",
		"{\"a\":\"1",
		"{\"a\":\"\\x\"}",
		"{\"a\":\"\\",
		"{\"a\":\"\\u12\"}",
		"{\"a\":\"\\u0000\"}",
		"{\"a\":\"\\ud83d\"}",
		"{\"a\":\"\\ud83d\\u0041\"}",
		"{\"a\":\"\\ude00\"}",
		"{\"a\":\"\n\"}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct json_config configuration;
		struct error error = {0};

		if (json_config_read(bad[i], &configuration, &error) == STATUS_OK) {
			fail_msg("%s was taken", bad[i]);
		}
		assert_int_equal(error.status, STATUS_INVALID_ARGUMENT);
		assert_int_equal(configuration.count, 0);
	}
}

static void
test_no_value_is_told(void **state)
{
	struct json_config configuration;
	struct error error = {0};

	(void)state;
	assert_int_not_equal(json_config_read("{\"password\":\"hush\",\"x\":hush}", &configuration, &error), STATUS_OK);
	assert_null(strstr(error.text, "hush"));
	assert_non_null(strstr(error.text, "at byte 23"));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_triton_gives),
		cmocka_unit_test(test_all_of_json_that_may_be),
		cmocka_unit_test(test_what_may_not_be),
		cmocka_unit_test(test_no_value_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
