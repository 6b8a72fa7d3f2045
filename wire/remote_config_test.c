#include "wire/remote_config.h"

#include "base/unit_test.h"
#include "wire/model_config.h"

#define BEHIND                                                                                                         \
	"{\"max_batch_size\":8,\"input\":[{\"name\":\"X\",\"data_type\":\"TYPE_FP32\",\"dims\":[4]}],\"output\":"      \
	"[{\"name\":\"Y\",\"data_type\":\"TYPE_INT32\",\"dims\":[1]}],\"parameters\":{\"hippocamp.upstream\":"         \
	"{\"string_value\":\"f\"},\"other\":{\"string_value\":\"o\"},\"hippocamp.guessed_batching\":"                  \
	"{\"string_value\":\"true\"}},\"response_cache\":{\"enable\":true}}"

static struct error error;

/* Writes what becomes of the owner's text, and reads it again. */
static void
complete(const char *text, const struct remote_config *remote, struct model_config *result)
{
	struct model_config own;
	struct buf json;

	buf_init(&json, 65536);
	assert_int_equal(model_config_parse_text(bytes_text(text), "f", &own, &error), STATUS_OK);
	assert_int_equal(remote_config_write(&own, remote, &json, &error), STATUS_OK);
	assert_int_equal(model_config_parse_json(buf_bytes(&json), result, &error), STATUS_OK);
	model_config_fini(&own);
	buf_fini(&json);
}

static const char *
parameter(const struct model_config *config, const char *name)
{
	const struct model_parameter *found = model_config_parameter(config, name);

	return found == NULL ? NULL : (const char *)found->value.at;
}

static void
test_what_is_not_stated_is_taken(void **state)
{
	const struct model_parameter mark = {.name = bytes_text("hippocamp.model"), .value = bytes_text("m")};
	struct model_config config;

	(void)state;
	complete("backend: 'upstream' response_cache { enable: true } parameters { key: 'url' value { string_value: "
		 "'u' } }",
		 &(struct remote_config){.behind = bytes_text(BEHIND),
					 .completes = true,
					 .is_cached = true,
					 .marks = &mark,
					 .mark_count = 1},
		 &config);
	assert_int_equal(config.input_count, 1);
	assert_bytes(config.inputs[0].name, "X");
	assert_int_equal(config.output_count, 1);
	assert_int_equal(config.outputs[0].datatype, DATATYPE_INT32);
	assert_int_equal(config.max_batch_size, 8);
	assert_true(config.response_cache);
	assert_string_equal(parameter(&config, "url"), "u");
	assert_string_equal(parameter(&config, "hippocamp.upstream"), "f");
	assert_string_equal(parameter(&config, "hippocamp.model"), "m");
	assert_string_equal(parameter(&config, MODEL_GUESSED_BATCHING), "true");
	assert_null(parameter(&config, "other"));
	model_config_fini(&config);
}

static void
test_the_owner_is_obeyed(void **state)
{
	static const char text[] = "max_batch_size: 0 input { name: 'A' data_type: TYPE_FP32 dims: [ -1 ] }"
				   "output { name: 'B' data_type: TYPE_FP32 dims: [ 2 ] }"
				   "parameters { key: 'hippocamp.upstream' value { string_value: 'mine' } }";
	struct model_config config;

	(void)state;
	complete(text, &(struct remote_config){.behind = bytes_text(BEHIND), .completes = true, .is_cached = true},
		 &config);
	assert_bytes(config.inputs[0].name, "A");
	assert_bytes(config.outputs[0].name, "B");
	assert_int_equal(config.max_batch_size, 0);
	assert_null(parameter(&config, MODEL_GUESSED_BATCHING));
	assert_string_equal(parameter(&config, "hippocamp.upstream"), "f");
	assert_int_equal(config.parameter_count, 1);
	assert_false(config.states_response_cache);
	model_config_fini(&config);
}

static void
test_a_stated_batch_size_is_no_guess(void **state)
{
	struct model_config config;

	(void)state;
	complete("max_batch_size: 4",
		 &(struct remote_config){.behind = bytes_text(BEHIND), .completes = true, .is_cached = true}, &config);
	assert_int_equal(config.max_batch_size, 4);
	assert_int_equal(config.input_count, 1);
	assert_null(parameter(&config, MODEL_GUESSED_BATCHING));
	model_config_fini(&config);
}

static void
test_nothing_is_taken(void **state)
{
	struct model_config config;

	(void)state;
	complete("max_batch_size: 2", &(struct remote_config){.behind = bytes_text(BEHIND), .is_cached = true},
		 &config);
	assert_int_equal(config.input_count, 0);
	assert_int_equal(config.max_batch_size, 2);
	model_config_fini(&config);
}

/* A server that was not reached: nothing is cached, whatever the owner says. */
static void
test_what_is_behind_is_not_known(void **state)
{
	static const char *const texts[] = {"response_cache { enable: true }", ""};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct model_config config;

		complete(texts[i], &(struct remote_config){.completes = true}, &config);
		assert_false(config.response_cache);
		assert_true(config.states_response_cache);
		assert_int_equal(config.input_count, 0);
		model_config_fini(&config);
	}
}

static void
test_what_differs(void **state)
{
	static const struct {
		const char *own;
		const char *expected;
	} cases[] = {
		{"", ""},
		{"max_batch_size: 8 input { name: 'X' data_type: TYPE_FP32 dims: [ -1 ] }", ""},
		{"max_batch_size: 8 input { name: 'X' data_type: TYPE_FP32 dims: [ 5 ] }",
		 "input 'X' is TYPE_FP32 [4] there, and TYPE_FP32 [5] here"},
		{"max_batch_size: 9 output { name: 'Y' data_type: TYPE_FP32 dims: [ 1 ] } "
		 "output { name: 'Z' data_type: TYPE_FP32 dims: [ 1 ] }",
		 "output 'Y' is TYPE_INT32 [1] there, and TYPE_FP32 [1] here; it has no output 'Z'; "
		 "max_batch_size is 8 there, and 9 here"},
		{"input { name: 'X' data_type: TYPE_FP32 dims: [ 1, 4 ] }", "max_batch_size is 8 there, and 0 here"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct model_config own;
		struct buf text;

		buf_init(&text, 1000);
		assert_int_equal(model_config_parse_text(bytes_text(cases[i].own), "f", &own, &error), STATUS_OK);
		remote_config_compare(&own, bytes_text(BEHIND), &text);
		assert_bytes(buf_bytes(&text), cases[i].expected);
		remote_config_compare(&own, bytes_text(""), &text);
		assert_bytes(buf_bytes(&text), cases[i].expected);
		model_config_fini(&own);
		buf_fini(&text);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_not_stated_is_taken),	cmocka_unit_test(test_the_owner_is_obeyed),
		cmocka_unit_test(test_a_stated_batch_size_is_no_guess), cmocka_unit_test(test_nothing_is_taken),
		cmocka_unit_test(test_what_is_behind_is_not_known),	cmocka_unit_test(test_what_differs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
