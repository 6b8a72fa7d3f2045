/* Inputs and the requests that are made of them: what a server decodes is what was meant. */
#include "measure/request.h"

#include "base/unit_test.h"
#include "wire/infer_body.h"
#include "wire/infer_message.h"

#include <stdio.h>

static int64_t dims[] = {2, 3};
static int64_t any[] = {-1};
static struct model_tensor tensors[3];
static struct model_config model;
static struct error error;

static void
describe(enum datatype datatype, struct model_dims shape)
{
	tensors[0] = (struct model_tensor){.name = bytes_text("A"), .datatype = datatype, .dims = shape};
	model = (struct model_config){.inputs = tensors, .input_count = 1};
}

static struct input_set *
inputs_of(uint64_t distinct)
{
	const struct input_options options = {.distinct = distinct, .string_length = 8, .seed = 1};

	return input_set_new(&model, &options, &error);
}

/* --- Inputs --- */

static struct bytes
content(const struct input_set *set, uint64_t number, uint8_t *room)
{
	struct bytes data = input_set_entry(set, number)->tensors[0].data;
	size_t length;

	(void)input_set_varied(set, &length);
	memcpy(room, data.at, data.length);
	input_set_vary(set, number, room);
	return bytes_make(room, data.length);
}

static void
test_inputs_differ(void **state)
{
	(void)state;
	for (enum datatype datatype = DATATYPE_BOOL; datatype < DATATYPE_COUNT; datatype++) {
		uint64_t distinct = datatype == DATATYPE_BOOL ? 64 : 1000;
		struct input_set *set;
		uint8_t one[128];
		uint8_t two[128];

		describe(datatype, (struct model_dims){2, dims});
		set = inputs_of(distinct);
		assert_non_null(set);
		assert_true(input_set_distinct(set) >= distinct);
		for (uint64_t i = 0; i < distinct; i++) {
			struct bytes first = content(set, i, one);

			assert_true(bytes_equal(first, content(set, i, two)));
			for (uint64_t k = 0; k < i; k += 1 + i / 8) {
				assert_false(bytes_equal(first, content(set, k, two)));
			}
		}
		input_set_free(set);
	}
}

/* Small integers are indices into small vocabularies; fractions are from 0 to 1. */
static void
test_values_are_modest(void **state)
{
	struct input_set *set;
	uint8_t room[128];

	(void)state;
	describe(DATATYPE_INT64, (struct model_dims){2, dims});
	set = inputs_of(1 << 20);
	for (uint64_t i = 0; i < 1 << 20; i += 999) {
		int64_t values[6];

		memcpy(values, content(set, i, room).at, sizeof(values));
		for (size_t k = 0; k < 6; k++) {
			assert_in_range(values[k], 0, 127);
		}
	}
	input_set_free(set);
	describe(DATATYPE_FP32, (struct model_dims){2, dims});
	set = inputs_of(UINT64_MAX);
	for (uint64_t i = 0; i < 1 << 20; i += 999) {
		float values[6];

		memcpy(values, content(set, i, room).at, sizeof(values));
		for (size_t k = 0; k < 6; k++) {
			assert_true(values[k] >= 0 && values[k] < 1);
		}
	}
	input_set_free(set);
}

static void
test_a_model_may_lack_room(void **state)
{
	(void)state;
	describe(DATATYPE_BOOL, (struct model_dims){2, dims});
	assert_null(inputs_of(65));
	assert_non_null(strstr(error.text, "only 64 different inputs can be made for this model, not 65"));
	describe(DATATYPE_INT32, (struct model_dims){1, any});
	assert_null(inputs_of(1));
	assert_string_equal(error.text, "input 'A' has a dimension of any size: give --shape A:DIM,DIM");
}

static void
test_shapes(void **state)
{
	static const struct {
		const char *shape;
		const char *text;
	} cases[] = {
		{"A:4", NULL},
		{"A", "give NAME:DIM,DIM"},
		{"A:", "give NAME:DIM,DIM"},
		{"A:4,", "give NAME:DIM,DIM"},
		{"A:-4", "give NAME:DIM,DIM"},
		{"B:4", "no such input"},
		{"A:4,4", "the model's shape is [-1]"},
	};

	(void)state;
	describe(DATATYPE_INT32, (struct model_dims){1, any});
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct input_options options = {.distinct = 1, .shapes = &cases[i].shape, .shape_count = 1};
		struct input_set *set = input_set_new(&model, &options, &error);

		assert_int_equal(set != NULL, cases[i].text == NULL);
		if (set != NULL) {
			assert_int_equal(input_set_entry(set, 0)->tensors[0].data.length, 16);
		} else if (strstr(error.text, cases[i].text) == NULL) {
			fail_msg("%s: %s", cases[i].shape, error.text);
		}
		input_set_free(set);
	}
}

/* --- Requests --- */

static struct bytes
join(const struct request *request, struct buf *all)
{
	buf_clear(all);
	for (size_t i = 0; i < request->piece_count; i++) {
		buf_append(all, request->pieces[i]);
	}
	return buf_bytes(all);
}

/* The tensor that inferences number 5 and 9 should have together. */
static void
expect(const struct input_set *set, const struct tensor *got)
{
	uint8_t room[256];

	assert_bytes(got->name, "A");
	assert_int_equal(got->rank, 3);
	assert_int_equal(got->shape[0], 2);
	assert_int_equal(got->shape[2], 3);
	assert_int_equal(got->data.length, 2 * content(set, 5, room).length);
	assert_memory_equal(got->data.at, content(set, 5, room).at, got->data.length / 2);
	assert_memory_equal(got->data.at + got->data.length / 2, content(set, 9, room).at, got->data.length / 2);
}

static void
test_http(void **state)
{
	const uint64_t numbers[] = {5, 9};

	(void)state;
	for (int json = 0; json < 2; json++) {
		struct request_form form = {.protocol = MEASURE_HTTP,
					    .model_name = bytes_text("m/1"),
					    .model_version = bytes_text("2"),
					    .batch = 2,
					    .is_json = json,
					    .host = bytes_text("h:1"),
					    .path = bytes_text("/p"),
					    .fields = bytes_text("X: y\r\n")};
		struct request request;
		struct infer_body body;
		struct arena arena;
		char length[64];
		struct buf all;
		struct bytes message;
		size_t split;

		describe(DATATYPE_INT32, (struct model_dims){2, dims});
		form.inputs = inputs_of(100);
		request_init(&request, &form);
		buf_init(&all, 1 << 20);
		arena_init(&arena, 1 << 20);
		for (int again = 0; again < 2; again++) { /* the second time what is the same stays */
			assert_int_equal(request_make(&request, numbers, &error), STATUS_OK);
			message = join(&request, &all);
			assert_true(bytes_starts_with(request.head,
						      "POST /p/v2/models/m%2F1/versions/2/infer HTTP/1.1\r\n"
						      "Host: h:1\r\n"));
			(void)snprintf(length, sizeof(length), "\r\nContent-Length: %zu\r\n", message.length);
			assert_non_null(memmem(request.head.at, request.head.length, length, strlen(length)));
			assert_non_null(memmem(request.head.at, request.head.length, "\r\nX: y\r\n\r\n", 10));
			split = json ? message.length : request.message.length;
			assert_int_equal(infer_body_decode(bytes_make(message.at, split), bytes_skip(message, split),
							   form.model_name, &arena, &body, &error),
					 STATUS_OK);
			assert_int_equal(body.binary_by_default, !json);
			expect(form.inputs, &body.inputs[0]);
			infer_body_fini(&body);
		}
		arena_fini(&arena);
		buf_fini(&all);
		request_fini(&request);
		input_set_free((struct input_set *)form.inputs);
	}
}

static void
test_grpc(void **state)
{
	const uint64_t numbers[] = {5, 9};
	struct request_form form = {.protocol = MEASURE_GRPC, .model_name = bytes_text("m"), .batch = 2};
	struct infer_message message;
	struct request request;
	struct arena arena;
	struct bytes body;
	struct buf all;

	(void)state;
	describe(DATATYPE_FP32, (struct model_dims){2, dims});
	form.inputs = inputs_of(100);
	request_init(&request, &form);
	buf_init(&all, 1 << 20);
	arena_init(&arena, 1 << 20);
	assert_int_equal(request_make(&request, numbers, &error), STATUS_OK);
	body = join(&request, &all);
	assert_int_equal(body.at[4], body.length - 5); /* it is shorter than 256 bytes */
	body = bytes_skip(body, 5);
	assert_int_equal(infer_message_name(body, &message, &error), STATUS_OK);
	assert_int_equal(infer_message_decode(body, &arena, &message, &error), STATUS_OK);
	expect(form.inputs, &message.body.inputs[0]);
	arena_fini(&arena);
	buf_fini(&all);
	request_fini(&request);
	input_set_free((struct input_set *)form.inputs);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inputs_differ),
		cmocka_unit_test(test_values_are_modest),
		cmocka_unit_test(test_a_model_may_lack_room),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_http),
		cmocka_unit_test(test_grpc),
	};

	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
