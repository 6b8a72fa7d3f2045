#include "wire/infer_body.h"

#include "base/unit_test.h"
#include "wire/infer_reply.h"

struct fixture {
	struct arena arena;
	struct infer_body body;
	struct error error;
};

static enum status
decode(struct fixture *fixture, const char *json, struct bytes binary)
{
	return infer_body_decode(bytes_text(json), binary, bytes_text("m"), &fixture->arena, &fixture->body,
				 &fixture->error);
}

static int
set_up(void **state)
{
	static struct fixture fixture;

	arena_init(&fixture.arena, 1 << 20);
	*state = &fixture;
	return 0;
}

static int
tear_down(void **state)
{
	arena_fini(&((struct fixture *)*state)->arena);
	return 0;
}

#define INPUT(rest) "{\"inputs\":[{\"name\":\"A\",\"datatype\":" rest "}]}"

static void
test_json_and_binary_mixed(void **state)
{
	struct fixture *fixture = *state;
	int32_t numbers[3];

	assert_int_equal(
		decode(fixture,
		       "{\"id\":\"x\",\"parameters\":{\"binary_data_output\":true,\"t\":2,\"t\":3,\"s\":\"v\",\"d\":1."
		       "5},"
		       "\"inputs\":[{\"name\":\"A\",\"datatype\":\"INT32\",\"shape\":[3],\"data\":[[1],[-2,4294967299]]"
		       "},"
		       "{\"name\":\"B\",\"datatype\":\"UINT8\",\"shape\":[2],\"parameters\":{\"binary_data_size\":2}}],"
		       "\"outputs\":[{\"name\":\"C\"},{\"name\":\"D\",\"parameters\":{\"binary_data\":false,"
		       "\"classification\":3}}]}",
		       bytes_text("zz")),
		STATUS_OK);
	assert_bytes(fixture->body.id, "x");
	assert_int_equal(fixture->body.input_count, 2);
	assert_int_equal(fixture->body.inputs[0].data.length, sizeof(numbers));
	memcpy(numbers, fixture->body.inputs[0].data.at, sizeof(numbers));
	assert_int_equal(numbers[1], -2);
	assert_int_equal(numbers[2], 3); /* truncated, as by Triton */
	assert_bytes(fixture->body.inputs[1].data, "zz");
	assert_true(fixture->body.outputs[0].binary);
	assert_false(fixture->body.outputs[1].binary);
	assert_int_equal(fixture->body.outputs[1].classification, 3);
	assert_int_equal(fixture->body.parameter_count, 3);
	assert_int_equal(parameter_find(fixture->body.parameters, 3, "t")->signed_number, 2);
	infer_body_fini(&fixture->body);
}

static void
test_refusals(void **state)
{
	static const struct {
		const char *json;
		enum status status;
		const char *message;
	} cases[] = {
		{"{", STATUS_INTERNAL, "failed to parse the request JSON buffer"},
		{"", STATUS_INTERNAL, "The document is empty."},
		{"{}", STATUS_INTERNAL, "non-existing object member 'inputs'"},
		{"[]", STATUS_INTERNAL, "non-existing object member 'inputs'"},
		{"{\"inputs\":1}", STATUS_INTERNAL, "non-array as array"},
		{INPUT("\"INT32\",\"shape\":[-1],\"data\":[1]"), STATUS_INTERNAL, "non-unsigned-integer"},
		{INPUT("\"INT32\",\"shape\":[2],\"data\":[1]"), STATUS_INTERNAL, "Failed to parse 'data' field"},
		{INPUT("\"INT32\",\"shape\":[2],\"data\":[1,2,3]"), STATUS_INTERNAL, "Unable to parse 'data': Shape"},
		{INPUT("\"INT32\",\"shape\":[4611686018427387904,16],\"data\":[1]"), STATUS_INVALID_ARGUMENT,
		 "invalid shape for input 'A': shape [4611686018427387904,16] causes total element count to exceed"},
		{INPUT("\"BYTES\",\"shape\":[1],\"data\":[1]"), STATUS_INTERNAL,
		 "Unable to parse JSON bytes array: attempt to access JSON non-string as string"},
		{INPUT("\"INT32\",\"shape\":[1],\"data\":[1.5]"), STATUS_INTERNAL, "non-signed-integer"},
		{INPUT("\"UINT32\",\"shape\":[1],\"data\":[-1]"), STATUS_INTERNAL, "non-unsigned-integer"},
		{INPUT("\"INT32\",\"shape\":[1]"), STATUS_INVALID_ARGUMENT, "But no field is set"},
		{INPUT("\"NOPE\",\"shape\":[1],\"data\":[1]"), STATUS_INVALID_ARGUMENT, "invalid datatype"},
		{INPUT("\"FP16\",\"shape\":[1],\"data\":[1]"), STATUS_INVALID_ARGUMENT, "via JSON is not supported"},
		{INPUT("\"INT8\",\"shape\":[1],\"parameters\":{\"binary_data_size\":9}"), STATUS_INVALID_ARGUMENT,
		 "expecting 9 additional bytes"},
		{"{\"id\":1,\"inputs\":[]}", STATUS_INTERNAL, "non-string as string"},
		{"{\"parameters\":{\"triton_x\":1},\"inputs\":[]}", STATUS_INVALID_ARGUMENT, "reserved"},
		{"{\"parameters\":{\"x\":[]},\"inputs\":[]}", STATUS_INVALID_ARGUMENT, "invalid type"},
		{"{\"parameters\":{\"sequence_id\":-1},\"inputs\":[]}", STATUS_INTERNAL,
		 "Unable to parse 'sequence_id': attempt to access JSON non-string as string"},
		{"{\"parameters\":{\"sequence_id\":1.5},\"inputs\":[]}", STATUS_INTERNAL, "'sequence_id'"},
		{"{\"inputs\":[],\"outputs\":[{\"name\":\"C\",\"parameters\":{\"classification\":\"1\"}}]}",
		 STATUS_INTERNAL,
		 "Unable to set 'classification': attempt to access JSON non-unsigned-integer as unsigned-integer"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(decode(fixture, cases[i].json, bytes_make(NULL, 0)), cases[i].status);
		if (strstr(fixture->error.text, cases[i].message) == NULL) {
			fail_msg("'%s' gave '%s'", cases[i].json, fixture->error.text);
		}
	}
	assert_int_equal(decode(fixture, "{\"inputs\":[]}", bytes_text("left")), STATUS_INVALID_ARGUMENT);
}

static void
test_nesting_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	char json[2000] = "{\"inputs\":[{\"name\":\"A\",\"datatype\":\"INT32\",\"shape\":[1],\"data\":";

	memset(json + strlen(json), '[', 101);
	strcat(json, "1");
	memset(json + strlen(json), ']', 101);
	strcat(json, "}]}");
	assert_int_equal(decode(fixture, json, bytes_make(NULL, 0)), STATUS_INVALID_ARGUMENT);
}

static void
test_content_types(void **state)
{
	static const struct {
		const char *json;
		const char *content_type;
		bool is_plain;
	} cases[] = {
		{INPUT("\"INT8\",\"shape\":[1],\"data\":[1],\"parameters\":{\"content_type\":\"np\"}"), "np", true},
		{INPUT("\"INT8\",\"shape\":[1],\"data\":[1],\"parameters\":{\"content_type\":null}"), "", true},
		{INPUT("\"INT8\",\"shape\":[1],\"data\":[1],\"parameters\":{\"content_type\":1}"), "", false},
		{INPUT("\"INT8\",\"shape\":[1],\"data\":[1],\"parameters\":{\"content_type\":\"\"}"), "", false},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(decode(fixture, cases[i].json, bytes_make(NULL, 0)), STATUS_OK);
		assert_int_equal(infer_body_is_plain(&fixture->body), cases[i].is_plain);
		assert_true(infer_body_detach(&fixture->body, &fixture->arena));
		assert_bytes(fixture->body.inputs[0].content_type, cases[i].content_type);
	}
}

static void
test_reply(void **state)
{
	static const float reals[] = {1.0F, 0.1F, -0.0F};
	static const int8_t integers[] = {-5, 7};
	static const int64_t shape3[] = {3};
	static const int64_t shape2[] = {1, 2};
	struct infer_reply_output outputs[] = {
		{{bytes_text("R"), DATATYPE_FP32, 1, shape3, bytes_make(reals, sizeof(reals)), {0}}, false},
		{{bytes_text("I"), DATATYPE_INT8, 2, shape2, bytes_make(integers, sizeof(integers)), {0}}, false},
		{{bytes_text("B"), DATATYPE_INT8, 2, shape2, bytes_make(integers, sizeof(integers)), {0}}, true},
		{{bytes_text("S"), DATATYPE_BYTES, 2, shape2, bytes_make("\1\0\0\0\"\0\0\0\0", 9), {0}}, false},
	};
	struct error error;
	struct buf json;

	(void)state;
	buf_init(&json, 10000);
	assert_int_equal(infer_reply_encode(bytes_text("7"), bytes_text("m"), bytes_text("2"), bytes_text(""), outputs,
					    4, &json, &error),
			 STATUS_OK);
	assert_bytes(buf_bytes(&json),
		     "{\"id\":\"7\",\"model_name\":\"m\",\"model_version\":\"2\",\"outputs\":["
		     "{\"name\":\"R\",\"datatype\":\"FP32\",\"shape\":[3],\"data\":[1.0,0.10000000149011612,-0.0]},"
		     "{\"name\":\"I\",\"datatype\":\"INT8\",\"shape\":[1,2],\"data\":[-5,7]},"
		     "{\"name\":\"B\",\"datatype\":\"INT8\",\"shape\":[1,2],\"parameters\":{\"binary_data_size\":2}},"
		     "{\"name\":\"S\",\"datatype\":\"BYTES\",\"shape\":[1,2],\"data\":[\"\\\"\",\"\"]}]}");
	outputs[1].tensor.content_type = outputs[2].tensor.content_type = bytes_text("np");
	buf_clear(&json);
	assert_int_equal(infer_reply_encode(bytes_text(""), bytes_text("m"), bytes_text("2"), bytes_text(""),
					    outputs + 1, 2, &json, &error),
			 STATUS_OK);
	assert_bytes(buf_bytes(&json),
		     "{\"model_name\":\"m\",\"model_version\":\"2\",\"outputs\":["
		     "{\"name\":\"I\",\"datatype\":\"INT8\",\"shape\":[1,2],\"parameters\":{\"content_type\":\"np\"},"
		     "\"data\":[-5,7]},{\"name\":\"B\",\"datatype\":\"INT8\",\"shape\":[1,2],\"parameters\":"
		     "{\"binary_data_size\":2,\"content_type\":\"np\"}}]}");
	outputs[3].tensor.data = bytes_make("\1\0\0\0\xff", 5);
	buf_clear(&json);
	assert_int_equal(infer_reply_encode(bytes_text(""), bytes_text("m"), bytes_text("2"), bytes_text(""), outputs,
					    4, &json, &error),
			 STATUS_INVALID_ARGUMENT);
	buf_fini(&json);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_json_and_binary_mixed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nesting_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_content_types, set_up, tear_down),
		cmocka_unit_test(test_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
