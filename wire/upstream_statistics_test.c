#include "wire/upstream_statistics.h"

#include "base/unit_test.h"

#include <string.h>

static const struct cached_answers answers[] = {
	{.name = {.at = (const uint8_t *)"m", .length = 1},
	 .version = 2,
	 .hits = 10,
	 .hit_ns = 1000,
	 .misses = 3,
	 .miss_ns = 300,
	 .last_ms = 77},
};

static bool
add(const char *json, struct buf *out)
{
	buf_init(out, 1 << 16);
	return upstream_statistics_add(bytes_text(json), answers, 1, out);
}

/* clang-format off */
static const char behind[] =
	"{\"model_stats\":[{\"name\":\"m\",\"version\":\"2\",\"last_inference\":5,\"inference_count\":4,\"inference_stats\":{"
	"\"success\":{\"count\":4,\"ns\":40},\"fail\":{\"count\":1,\"ns\":2}},\"memory_usage\":[]},"
	"{\"name\":\"m\",\"version\":\"1\",\"inference_stats\":{}}]}";
static const char together[] =
	"{\"model_stats\":[{\"name\":\"m\",\"version\":\"2\",\"last_inference\":77,\"inference_count\":4,\"inference_stats\":{"
	"\"success\":{\"count\":14,\"ns\":1040},\"fail\":{\"count\":1,\"ns\":2},\"queue\":{\"count\":10,\"ns\":0},"
	"\"cache_hit\":{\"count\":10,\"ns\":1000},\"cache_miss\":{\"count\":3,\"ns\":300}},\"memory_usage\":[]},"
	"{\"name\":\"m\",\"version\":\"1\",\"inference_stats\":{}}]}";
/* clang-format on */

static void
test_hits_are_added(void **state)
{
	struct buf out;

	(void)state;
	assert_true(add(behind, &out));
	assert_bytes(buf_bytes(&out), together);
	buf_fini(&out);
}

static void
test_a_later_request_behind(void **state)
{
	struct buf out;

	(void)state;
	assert_true(add("{\"model_stats\":[{\"name\":\"m\",\"version\":\"2\",\"last_inference\":99,"
			"\"inference_stats\":{}}]}",
			&out));
	buf_byte(&out, '\0');
	assert_non_null(strstr((const char *)out.at, "\"last_inference\":99"));
	buf_fini(&out);
}

/* What is no such document is for the server behind to give. */
static void
test_other_documents(void **state)
{
	static const char *const others[] = {
		"",
		"[]",
		"{}",
		"{\"error\":\"no\"}",
		"{\"model_stats\":{}}",
		"{\"model_stats\":[{\"name\":\"m\",\"version\":\"2\"}]}",
		"{\"model_stats\":[{\"name\":\"m\",\"version\":\"2\",\"inference_stats\":{\"success\":3}}]}",
		"{\"model_stats\":[{\"name\":\"m\",\"version\":\"2\",\"inference_stats\":{\"success\":{\"count\":-1}}}]"
		"}",
	};
	struct buf out;

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		assert_false(add(others[i], &out));
		buf_fini(&out);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hits_are_added),
		cmocka_unit_test(test_a_later_request_behind),
		cmocka_unit_test(test_other_documents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
