#include "wire/infer_request.h"

#include "base/unit_test.h"
#include "wire/infer_message.h"

/* What is written is what the server's decoder reads. */
static void
test_a_server_reads_it(void **state)
{
	const int64_t shape[] = {1, 300};
	static const uint8_t data[1200] = {[0] = 7, [1199] = 9};
	const struct tensor inputs[] = {
		{.name = bytes_text("A"), .datatype = DATATYPE_INT32, .rank = 2, .shape = shape, .data = {data, 1200}},
		{.name = bytes_text("B"),
		 .datatype = DATATYPE_UINT8,
		 .rank = 0,
		 .data = {data, 1},
		 .content_type = bytes_text("np")},
	};
	const struct parameter parameters[] = {
		{.name = bytes_text("flag"), .kind = PARAMETER_BOOLEAN, .boolean = false},
		{.name = bytes_text("least"), .kind = PARAMETER_SIGNED, .signed_number = INT64_MIN},
		{.name = bytes_text("most"), .kind = PARAMETER_UNSIGNED, .unsigned_number = UINT64_MAX},
		{.name = bytes_text("share"), .kind = PARAMETER_DOUBLE, .number = 0.25},
		{.name = bytes_text("word"), .kind = PARAMETER_TEXT, .text = bytes_text("")},
	};
	const struct infer_body_output outputs[] = {{.name = bytes_text("X")},
						    {.name = bytes_text("Y"), .classification = 5}};
	const struct infer_request request = {
		.model_name = bytes_text("model"),
		.model_version = bytes_text("3"),
		.id = bytes_text("seven"),
		.parameters = parameters,
		.parameter_count = 5,
		.inputs = inputs,
		.input_count = 2,
		.outputs = outputs,
		.output_count = 2,
	};
	struct infer_message message;
	struct arena arena;
	struct error error;
	struct buf out;

	(void)state;
	arena_init(&arena, 1 << 20);
	buf_init(&out, 1 << 20);
	infer_request_head(&request, &out);
	for (size_t i = 0; i < 2; i++) {
		infer_request_data(inputs[i].data.length, &out);
		buf_append(&out, inputs[i].data);
	}
	assert_int_equal(infer_message_name(buf_bytes(&out), &message, &error), STATUS_OK);
	assert_int_equal(infer_message_decode(buf_bytes(&out), &arena, &message, &error), STATUS_OK);
	assert_bytes(message.model_name, "model");
	assert_bytes(message.model_version, "3");
	assert_int_equal(message.body.input_count, 2);
	assert_bytes(message.body.inputs[0].name, "A");
	assert_int_equal(message.body.inputs[0].datatype, DATATYPE_INT32);
	assert_int_equal(message.body.inputs[0].rank, 2);
	assert_int_equal(message.body.inputs[0].shape[1], 300);
	assert_true(bytes_equal(message.body.inputs[0].data, inputs[0].data));
	assert_int_equal(message.body.inputs[1].rank, 0);
	assert_bytes(message.body.inputs[1].content_type, "np");
	assert_bytes(message.body.id, "seven");
	assert_int_equal(message.body.parameter_count, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_true(parameter_equal(&message.body.parameters[i], &parameters[i]));
	}
	assert_int_equal(message.body.output_count, 2);
	assert_bytes(message.body.outputs[0].name, "X");
	assert_int_equal(message.body.outputs[1].classification, 5);
	buf_fini(&out);
	arena_fini(&arena);
}

static void
test_prefix(void **state)
{
	const uint8_t expected[] = {0, 0x01, 0x02, 0x03, 0x04};
	uint8_t prefix[INFER_REQUEST_PREFIX];

	(void)state;
	infer_request_prefix(0x01020304, prefix);
	assert_memory_equal(prefix, expected, sizeof(expected));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_server_reads_it), cmocka_unit_test(test_prefix)};

	return cmocka_run_group_tests_name("infer_request", tests, NULL, NULL);
}
