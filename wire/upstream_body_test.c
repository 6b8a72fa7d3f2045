#include "wire/upstream_body.h"

#include "base/unit_test.h"

#include <stdio.h>
#include <string.h>

static struct error error;

/* --- Inference --- */

static const int64_t shape[] = {2};
static const uint8_t numbers[] = {1, 0, 0, 0, 2, 0, 0, 0};

static void
encode(bool binary, const char *expected)
{
	struct tensor input = {.name = bytes_text("X\""),
			       .datatype = DATATYPE_INT32,
			       .rank = 1,
			       .shape = shape,
			       .data = bytes_make(numbers, sizeof(numbers))};
	struct parameter parameters[] = {
		{.name = bytes_text("a"), .kind = PARAMETER_TEXT, .text = bytes_text("\n")},
		{.name = bytes_text("b"), .kind = PARAMETER_SIGNED, .signed_number = -1},
		{.name = bytes_text("c"), .kind = PARAMETER_DOUBLE, .number = 0.1},
		{.name = bytes_text("e"), .kind = PARAMETER_DOUBLE, .number = 1},
		{.name = bytes_text("d"), .kind = PARAMETER_BOOLEAN, .boolean = true},
	};
	struct upstream_request request = {.id = bytes_text("i"),
					   .inputs = &input,
					   .input_count = 1,
					   .parameters = parameters,
					   .parameter_count = 5,
					   .binary = binary};
	struct buf json;

	buf_init(&json, 4096);
	assert_int_equal(upstream_request_encode(&request, &json, &error), STATUS_OK);
	assert_bytes(buf_bytes(&json), expected);
	buf_fini(&json);
}

static void
test_requests(void **state)
{
	(void)state;
	encode(true,
	       "{\"id\":\"i\",\"parameters\":{\"binary_data_output\":true,\"a\":\"\\n\",\"b\":-1,"
	       "\"c\":0.10000000000000001,\"e\":1.0,\"d\":true},\"inputs\":[{\"name\":\"X\\\"\",\"datatype\":\"INT32\","
	       "\"shape\":[2],\"parameters\":{\"binary_data_size\":8}}]}");
	encode(false,
	       "{\"id\":\"i\",\"parameters\":{\"a\":\"\\n\",\"b\":-1,\"c\":0.10000000000000001,\"e\":1.0,\"d\":true},"
	       "\"inputs\":[{\"name\":\"X\\\"\",\"datatype\":\"INT32\",\"shape\":[2],\"data\":[1,2]}]}");
}

#define OUTPUT(more) "{\"name\":\"Y\",\"datatype\":\"INT8\",\"shape\":[2]," more "}"

static void
test_responses(void **state)
{
	static const struct {
		const char *json;
		const char *binary;
		enum status status;
		bool is_plain;
		const char *data;
	} cases[] = {
		{"{\"model_version\":\"3\",\"outputs\":[" OUTPUT("\"data\":[97,98]") "]}", "", STATUS_OK, true, "ab"},
		{"{\"outputs\":[" OUTPUT("\"parameters\":{\"binary_data_size\":2}") "]}", "ab", STATUS_OK, true, "ab"},
		{"{\"outputs\":[" OUTPUT("\"data\":[97,98],\"parameters\":{\"x\":1}") "]}", "", STATUS_OK, false, "ab"},
		{"{\"parameters\":{\"x\":1},\"outputs\":[" OUTPUT("\"data\":[97,98]") "]}", "", STATUS_OK, false, "ab"},
		{"{\"parameters\":{},\"outputs\":[" OUTPUT("\"data\":[97,98]") "]}", "", STATUS_OK, true, "ab"},
		{"{\"parameters\":null,\"outputs\":[" OUTPUT("\"data\":[97,98]") "]}", "", STATUS_OK, true, "ab"},
		{"{\"parameters\":[1],\"outputs\":[" OUTPUT("\"data\":[97,98]") "]}", "", STATUS_OK, false, "ab"},
		{"{\"model_version\":3,\"outputs\":[" OUTPUT("\"data\":[97,98]") "]}", "", STATUS_OK, false, "ab"},
		{"{\"more\":1,\"outputs\":[" OUTPUT("\"data\":[97,98]") "]}", "", STATUS_OK, false, "ab"},
		{"{\"outputs\":[" OUTPUT("\"data\":[97,98]") "],\"outputs\":[]}", "", STATUS_OK, false, "ab"},
		{"{\"outputs\":[" OUTPUT("\"data\":[97,98],\"data\":[1,2]") "]}", "", STATUS_OK, false, "ab"},
		{"{\"outputs\":[" OUTPUT("\"parameters\":{\"binary_data_size\":2}") "]}", "abc", STATUS_INTERNAL, false,
		 NULL},
		{"{\"outputs\":[" OUTPUT("\"parameters\":{\"binary_data_size\":3}") "]}", "ab", STATUS_INVALID_ARGUMENT,
		 false, NULL},
		{"{\"outputs\":[" OUTPUT("\"data\":[1]") "]}", "", STATUS_INTERNAL, false, NULL},
		{"{\"outputs\":[" OUTPUT("\"data\":[1,128]") "]}", "", STATUS_INTERNAL, false, NULL},
		{"{\"outputs\":1}", "", STATUS_INTERNAL, false, NULL},
		{"{}", "", STATUS_INTERNAL, false, NULL},
		{"[", "", STATUS_INVALID_ARGUMENT, false, NULL},
		{"null", "", STATUS_INTERNAL, false, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct upstream_response response;
		struct arena arena;
		enum status status;

		arena_init(&arena, 1 << 16);
		status = upstream_response_decode(bytes_text(cases[i].json), bytes_text(cases[i].binary), &arena,
						  &response, &error);
		assert_int_equal(status == STATUS_OK, cases[i].status == STATUS_OK);
		if (status == STATUS_OK) {
			assert_int_equal(response.is_plain, cases[i].is_plain);
			assert_int_equal(response.output_count, 1);
			assert_bytes(response.outputs[0].data, cases[i].data);
			upstream_response_fini(&response);
		}
		arena_fini(&arena);
	}
}

static void
test_content_types(void **state)
{
	static const struct {
		const char *stated;
		bool is_plain;
		const char *content_type;
	} cases[] = {{"\"np\"", true, "np"}, {"null", true, ""}, {"7", false, ""}, {"\"\"", false, ""}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct upstream_response response;
		struct arena arena;
		char json[200];

		(void)snprintf(json, sizeof(json),
			       "{\"outputs\":[" OUTPUT("\"data\":[97,98],\"parameters\":{\"content_type\":%s}") "]}",
			       cases[i].stated);
		arena_init(&arena, 1 << 16);
		assert_int_equal(upstream_response_decode(bytes_text(json), bytes_text(""), &arena, &response, &error),
				 STATUS_OK);
		assert_int_equal(response.is_plain, cases[i].is_plain);
		assert_bytes(response.outputs[0].content_type, cases[i].content_type);
		upstream_response_fini(&response);
		arena_fini(&arena);
	}
}

static void
test_error_texts(void **state)
{
	char text[8];

	(void)state;
	assert_true(upstream_error_text(bytes_text("{\"error\":\"a \\u0041\"}"), text, sizeof(text)));
	assert_string_equal(text, "a A");
	assert_false(upstream_error_text(bytes_text("{\"error\":\"123456789\"}"), text, sizeof(text)));
	assert_false(upstream_error_text(bytes_text("{\"error\":\"a\",\"code\":1}"), text, sizeof(text)));
	assert_false(upstream_error_text(bytes_text("{\"error\":\"a\\u0000b\"}"), text, sizeof(text)));
	assert_false(upstream_error_text(bytes_text("{\"error\":1}"), text, sizeof(text)));
	assert_false(upstream_error_text(bytes_text("<html>"), text, sizeof(text)));
}

/* --- What a server tells --- */

static char told[256];

static void
on_item(void *context, struct bytes name, int64_t version, struct bytes word, struct bytes state)
{
	size_t length = strlen(told);

	(void)context;
	(void)snprintf(told + length, sizeof(told) - length, "%.*s %d%s%.*s %.*s;", BYTES_ARGS(name), (int)version,
		       word.at == NULL ? "" : "=", BYTES_ARGS(word), BYTES_ARGS(state));
}

static void
test_indexes(void **state)
{
	(void)state;
	told[0] = '\0';
	assert_int_equal(upstream_index_decode(
				 bytes_text("[{\"name\":\"a\",\"version\":\"1\",\"state\":\"READY\"},{\"name\":\"b\"},"
					    "{\"name\":\"c\",\"version\":\"v1\"},{\"name\":\"d\",\"version\":\"02\"},"
					    "{\"name\":\"e\",\"version\":\"99999999999999999999\"},"
					    "{\"name\":1,\"version\":\"1\"},{\"name\":\"f\",\"version\":\"10\"}]"),
				 on_item, NULL, &error),
			 STATUS_OK);
	assert_string_equal(told, "a 1 READY;b 1= ;c 1=v1 ;d 1=02 ;e 1=99999999999999999999 ;f 10 ;");
	assert_int_not_equal(upstream_index_decode(bytes_text("{}"), on_item, NULL, &error), STATUS_OK);
	assert_int_not_equal(upstream_index_decode(bytes_text("["), on_item, NULL, &error), STATUS_OK);
}

static uint64_t successes[4];
static size_t models;

static void
on_model(void *context, struct bytes name, struct bytes version, const uint64_t *counters, size_t count)
{
	(void)context;
	assert_bytes(name, "a");
	assert_true(version.length == 1 && count == 19);
	successes[models++] = counters[UPSTREAM_COUNTER_SUCCESS];
}

static void
test_statistics(void **state)
{
	(void)state;
	models = 0;
	assert_int_equal(upstream_statistics_decode(
				 bytes_text("{\"model_stats\":[{\"name\":\"a\",\"version\":\"1\",\"inference_stats\":"
					    "{\"success\":{\"count\":7,\"ns\":9}}},{\"name\":\"a\",\"version\":\"2\"},"
					    "{\"name\":\"b\",\"version\":\"1\",\"unseen_changes\":true}]}"),
				 on_model, NULL, &error),
			 STATUS_OK);
	assert_int_equal(models, 2);
	assert_int_equal(successes[0], 7);
	assert_true(successes[1] == UINT64_MAX);
	assert_int_not_equal(upstream_statistics_decode(bytes_text("{}"), on_model, NULL, &error), STATUS_OK);
}

/* --- Configurations --- */

static void
convert(const char *metadata, const char *config, bool cached, bool usable, const char *expected)
{
	struct upstream_model_document document = {.name = bytes_text("m"),
						   .metadata = bytes_text(metadata),
						   .config = bytes_text(config),
						   .fingerprint = bytes_text("f"),
						   .cached = cached};
	struct buf out;
	bool got;

	buf_init(&out, 4096);
	assert_int_equal(upstream_model_convert(&document, &out, &got, &error), STATUS_OK);
	assert_int_equal(got, usable);
	if (usable) {
		assert_bytes(buf_bytes(&out), expected);
	}
	buf_fini(&out);
}

#define HEAD "{\"name\":\"m\",\"backend\":\"upstream\",\"max_batch_size\":"
#define POLICY "\"version_policy\":{\"all\":{}},"
#define TAIL                                                                                                           \
	"\"hippocamp.upstream\":{\"string_value\":\"f\"},\"hippocamp.guessed_batching\":{\"string_value\":\"true\"}}," \
	"\"response_cache\":{\"enable\":true}}"

static void
test_configurations(void **state)
{
	(void)state;
	convert("{}",
		"{\"max_batch_size\":4,\"backend\":\"python\",\"instance_group\":[{\"count\":3}],\"input\":[{\"name\":"
		"\"X\","
		"\"data_type\":\"TYPE_INT32\",\"dims\":[1],\"reshape\":{\"shape\":[]},\"optional\":true}],\"output\":["
		"{\"name\":\"Y\",\"data_type\":\"TYPE_STRING\",\"dims\":[-1],\"label_filename\":\"l\"}],"
		"\"dynamic_batching\":{},\"parameters\":{\"response_cache.ttl\":{\"string_value\":\"5\"}},"
		"\"response_cache\":{\"enable\":true}}",
		false, true,
		HEAD "4," POLICY
		     "\"input\":[{\"name\":\"X\",\"data_type\":\"TYPE_INT32\",\"dims\":[1],\"optional\":true}],"
		     "\"output\":[{\"name\":\"Y\",\"data_type\":\"TYPE_STRING\",\"dims\":[-1]}],"
		     "\"parameters\":{\"response_cache.ttl\":{\"string_value\":\"5\"}," TAIL);
	convert("{\"inputs\":[{\"name\":\"X\",\"datatype\":\"BYTES\",\"shape\":[-1,2]}],\"outputs\":[{\"name\":\"Y\","
		"\"datatype\":\"FP32\",\"shape\":[1]}]}",
		"", true, true,
		HEAD "0," POLICY
		     "\"input\":[{\"name\":\"X\",\"data_type\":\"TYPE_STRING\",\"dims\":[-1,2]}],\"output\":[{\"name\":"
		     "\"Y\",\"data_type\":\"TYPE_FP32\",\"dims\":[1]}],\"parameters\":{" TAIL);
}

static void
test_models_that_are_not_cached(void **state)
{
	struct buf out = {0};
	bool usable;

	(void)state;
	convert("{}", "", false, false, NULL);
	assert_int_equal(
		upstream_model_convert(&(struct upstream_model_document){.name = bytes_text("m"),
									 .metadata = bytes_text("{\"inputs\":[]}"),
									 .cached = true},
				       &out, &usable, &error),
		STATUS_INVALID_ARGUMENT);
	assert_false(usable);
	convert("{}", "{\"response_cache\":{\"enable\":false}}", false, false, NULL);
	convert("{}", "{\"sequence_batching\":{}}", true, false, NULL);
	convert("{}", "{\"model_transaction_policy\":{\"decoupled\":true}}", true, false, NULL);
	convert("{}", "{\"input\":[{\"name\":\"X\",\"is_shape_tensor\":true}]}", true, false, NULL);
	convert("{}", "{\"input\":[{\"name\":\"X\",\"allow_ragged_batch\":true}]}", true, false, NULL);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),       cmocka_unit_test(test_responses),
		cmocka_unit_test(test_content_types),  cmocka_unit_test(test_error_texts),
		cmocka_unit_test(test_indexes),	       cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_configurations), cmocka_unit_test(test_models_that_are_not_cached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
