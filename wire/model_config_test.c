#include "wire/model_config.h"

#include "base/unit_test.h"

#include <stdio.h>

static enum status
parse(const char *text, struct model_config *config, struct error *error)
{
	return model_config_parse_text(bytes_text(text), "config.pbtxt", config, error);
}

static void
test_everything_the_format_allows(void **state)
{
	static const char text[] = "# a comment\n"
				   "name: \"mod\" 'el' # joined\n"
				   "platform: \"onnxruntime\\x5fonnx\";\n"
				   "max_batch_size: 0x8,\n"
				   "input [ { name: 'A', data_type: TYPE_INT32, dims: [ 2, -1 ] } ,\n"
				   "        { name: 'B' data_type: 13 dims: 4 optional: t reshape: { shape: [ ] } } ]\n"
				   "output < name: 'C' data_type: TYPE_FP32 dims: 1 dims: 2 >\n"
				   "version_policy: { specific { versions: [1, 3] } }\n"
				   "parameters { key: 'k' value: { string_value: 'v' } }\n"
				   "parameters: [ { key: 'l' } ]\n"
				   "instance_group [ { count: 3 kind: KIND_CPU } ]\n"
				   "dynamic_batching { default_queue_policy { max_queue_size: 7 } }\n"
				   "response_cache { enable: True }\n";
	struct model_config config;
	struct error error;

	(void)state;
	assert_int_equal(parse(text, &config, &error), STATUS_OK);
	assert_bytes(config.name, "model");
	assert_bytes(config.platform, "onnxruntime_onnx");
	assert_int_equal(config.max_batch_size, 8);
	assert_int_equal(config.input_count, 2);
	assert_int_equal(config.inputs[0].datatype, DATATYPE_INT32);
	assert_int_equal(config.inputs[0].dims.dims[1], -1);
	assert_int_equal(config.inputs[1].datatype, DATATYPE_BYTES);
	assert_true(config.inputs[1].optional);
	assert_true(config.inputs[1].has_reshape);
	assert_int_equal(config.inputs[1].reshape.rank, 0);
	assert_int_equal(config.outputs[0].dims.rank, 2);
	assert_int_equal(config.version_policy, MODEL_VERSIONS_SPECIFIC);
	assert_int_equal(config.versions[1], 3);
	assert_bytes(model_config_parameter(&config, "k")->value, "v");
	assert_bytes(model_config_parameter(&config, "l")->value, "");
	assert_int_equal(config.instance_groups[0].count, 3);
	assert_int_equal(config.scheduling, MODEL_SCHEDULING_DYNAMIC);
	assert_int_equal(config.batching.default_policy.max_queue_size, 7);
	assert_true(config.response_cache);
	model_config_fini(&config);
}

static void
test_errors_say_where(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} cases[] = {
		{"name: 'a'\n  nam: 'b'",
		 "config.pbtxt:2:3: message type \"inference.ModelConfig\" has no field named \"nam\""},
		{"max_batch_size: 'x'", "config.pbtxt:1:17: field 'max_batch_size' expects an integer"},
		{"max_batch_size: 3000000000", "expects an integer"},
		{"max_batch_size: 1.5", "expects an integer"},
		{"name: 'a' name: 'b'", "specified multiple times"},
		{"input { data_type: TYPE_INT33 }", "unknown enumeration value of \"TYPE_INT33\""},
		{"input { data_type: 99 }", "expects an enum name"},
		{"input {", "expected '}' before the end of the file"},
		{"input { name: 'abc", "does not end on its line"},
		{"input { name: 'a\\q' }", "invalid escape"},
		{"name 'a'", "expected ':'"},
		{"name: [ 'a' ]", "takes one value"},
		{"dynamic_batching { } sequence_batching { }", "another member of the same oneof"},
		{"}", "expected a field name"},
		{"response_cache { enable: maybe }", "expects true or false"},
		{"\n max_batchsize: 4", "config.pbtxt:2:2: message type \"inference.ModelConfig\" has no field named "
					"\"max_batchsize\", did you mean \"max_batch_size\"?"},
		{"input { data_type: TYPE_FP322 }", "did you mean \"TYPE_FP32\"?"},
		{"name: 'a\\u12'", "invalid escape"},
		{"name: 'a\\ud83c'", "invalid escape"},
		{"name: 'a\\ud83c\\u0041'", "invalid escape"},
		{"name: 'a\\udf89'", "invalid escape"},
		{"name: 'a\\U00110000'", "invalid escape"},
		{"name: 'a\\U0001f3zz'", "invalid escape"},
		{"name: 'a\\0b'", "invalid escape"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct model_config config;
		struct error error;

		assert_int_equal(parse(cases[i].text, &config, &error), STATUS_INVALID_ARGUMENT);
		if (strstr(error.text, cases[i].message) == NULL) {
			fail_msg("'%s' gave '%s', expected '%s'", cases[i].text, error.text, cases[i].message);
		}
	}
}

static void
test_escapes(void **state)
{
	static const struct {
		const char *text;
		const char *value;
	} cases[] = {
		{"'a\\303\\274b'", "a\xc3\xbc"
				   "b"},
		{"'\\xc3\\xBC'", "\xc3\xbc"},
		{"'\\u00fc\\u65E5'", "\xc3\xbc\xe6\x97\xa5"},
		{"'\\U0001F389'", "\xf0\x9f\x8e\x89"},
		{"'\\ud83c\\udf89!'", "\xf0\x9f\x8e\x89!"},
		{"'\\u0041'", "A"},
		{"'\\t\\'\\\"\\\\\\?'", "\t'\"\\?"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct model_config config;
		struct error error;
		char text[100];

		(void)snprintf(text, sizeof(text), "name: %s", cases[i].text);
		assert_int_equal(parse(text, &config, &error), STATUS_OK);
		assert_bytes(config.name, cases[i].value);
		model_config_fini(&config);
	}
}

/* An explicit max_batch_size of 0 counts as stated. */
static void
test_what_is_stated(void **state)
{
	static const struct {
		const char *text;
		bool size;
		bool batching;
	} cases[] = {
		{"", false, false},
		{"max_batch_size: 0", true, false},
		{"max_batch_size: 4", true, true},
		{"dynamic_batching { }", false, true},
		{"max_batch_size: 0 dynamic_batching { }", true, true},
		{"instance_group { count: 1 }", false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct model_config config;
		struct error error;

		assert_int_equal(parse(cases[i].text, &config, &error), STATUS_OK);
		assert_int_equal(config.states_max_batch_size, cases[i].size);
		assert_int_equal(config.states_batching, cases[i].batching);
		model_config_fini(&config);
	}
}

static void
test_json_and_back(void **state)
{
	static const char text[] =
		"{\"name\":\"m\",\"maxBatchSize\":\"4\",\"input\":[{\"name\":\"A\",\"data_type\":"
		"\"TYPE_FP32\",\"dims\":[\"3\",-1]}],\"parameters\":{\"k\":{\"string_value\":\"v\"}},"
		"\"response_cache\":null}";
	struct model_config config;
	struct model_config again;
	struct error error;
	struct buf out;

	(void)state;
	buf_init(&out, 100000);
	assert_int_equal(model_config_parse_json(bytes_text(text), &config, &error), STATUS_OK);
	assert_int_equal(config.max_batch_size, 4);
	assert_int_equal(config.inputs[0].dims.dims[0], 3);
	config.platform = bytes_text("onnxruntime_onnx");
	assert_int_equal(model_config_completed(&config, &error), STATUS_OK);
	model_config_print(&config, &out);
	assert_int_equal(model_config_parse_json(buf_bytes(&out), &again, &error), STATUS_OK);
	assert_bytes(again.platform, "onnxruntime_onnx");
	assert_int_equal(again.max_batch_size, 4);
	assert_bytes(model_config_parameter(&again, "k")->value, "v");
	assert_int_equal(again.version_latest, 1);
	buf_fini(&out);
	model_config_fini(&config);
	model_config_fini(&again);
	assert_int_equal(model_config_parse_json(bytes_text("{\"nope\":1}"), &config, &error), STATUS_INVALID_ARGUMENT);
	assert_int_equal(model_config_parse_json(bytes_text("[1]"), &config, &error), STATUS_INVALID_ARGUMENT);
	assert_int_equal(model_config_parse_json(bytes_text("{\"input\":{}}"), &config, &error),
			 STATUS_INVALID_ARGUMENT);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_the_format_allows),
		cmocka_unit_test(test_errors_say_where),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_what_is_stated),
		cmocka_unit_test(test_json_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
