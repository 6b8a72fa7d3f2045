#include "wire/infer_memo.h"

#include "base/unit_test.h"

#include <stdio.h>

#define TIMES 4 /* it is remembered from the third on */

struct fixture {
	struct infer_memo *memo;
	struct arena arena;
	struct error error;
};

static int
set_up(void **state)
{
	static struct fixture fixture;

	fixture.memo = infer_memo_new();
	arena_init(&fixture.arena, 4 << 20);
	*state = &fixture;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *fixture = *state;

	infer_memo_free(fixture->memo);
	infer_memo_free(NULL);
	arena_fini(&fixture->arena);
	return 0;
}

static void
expect_same_tensor(const struct tensor *got, const struct tensor *wanted)
{
	assert_true(bytes_equal(got->name, wanted->name));
	assert_int_equal(got->datatype, wanted->datatype);
	assert_int_equal(got->rank, wanted->rank);
	assert_memory_equal(got->shape, wanted->shape, wanted->rank * sizeof(*wanted->shape));
	assert_int_equal(got->data.length, wanted->data.length);
	assert_memory_equal(got->data.at, wanted->data.at, wanted->data.length);
	assert_true(bytes_equal(got->content_type, wanted->content_type));
}

static void
expect_same(const struct infer_body *got, const struct infer_body *wanted)
{
	assert_true(bytes_equal(got->id, wanted->id));
	assert_int_equal(got->binary_by_default, wanted->binary_by_default);
	assert_int_equal(got->wraps, wanted->wraps);
	assert_int_equal(got->input_count, wanted->input_count);
	for (size_t i = 0; i < wanted->input_count; i++) {
		expect_same_tensor(&got->inputs[i], &wanted->inputs[i]);
	}
	assert_int_equal(got->output_count, wanted->output_count);
	for (size_t i = 0; i < wanted->output_count; i++) {
		assert_true(bytes_equal(got->outputs[i].name, wanted->outputs[i].name));
		assert_int_equal(got->outputs[i].binary, wanted->outputs[i].binary);
		assert_int_equal(got->outputs[i].classification, wanted->outputs[i].classification);
	}
	assert_int_equal(got->parameter_count, wanted->parameter_count);
	for (size_t i = 0; i < wanted->parameter_count; i++) {
		assert_true(bytes_equal(got->parameters[i].name, wanted->parameters[i].name));
		assert_int_equal(got->parameters[i].kind, wanted->parameters[i].kind);
		if (wanted->parameters[i].kind == PARAMETER_TEXT) {
			assert_true(bytes_equal(got->parameters[i].text, wanted->parameters[i].text));
		} else { /* whichever number it is */
			assert_true(got->parameters[i].signed_number == wanted->parameters[i].signed_number);
		}
	}
	assert_int_equal(infer_body_is_plain(got), infer_body_is_plain(wanted));
}

/* Decodes the same JSON again and again, each time with other data, and compares with decoding it alone. */
static void
expect_as_alone(struct fixture *fixture, const char *json, const uint8_t *data, size_t length)
{
	for (unsigned time = 0; time < TIMES; time++) {
		struct bytes text = arena_copy(&fixture->arena, bytes_text(json)); /* in another place each time */
		uint8_t *own = arena_room(&fixture->arena, length + 1);
		struct infer_body alone;
		struct infer_body body;
		struct error error;
		enum status status;

		for (size_t i = 0; i < length; i++) {
			own[i] = (uint8_t)(data[i] + time);
		}
		status = infer_body_decode(text, bytes_make(own, length), bytes_text("m"), &fixture->arena, &alone,
					   &error);
		assert_int_equal(infer_memo_decode(fixture->memo, text, bytes_make(own, length), bytes_text("m"),
						   &fixture->arena, &body, &fixture->error),
				 status);
		if (status == STATUS_OK) {
			expect_same(&body, &alone);
			infer_body_fini(&alone);
			infer_body_fini(&body);
		} else {
			assert_string_equal(error.text, fixture->error.text);
		}
	}
}

#define A "{\"name\":\"A\",\"datatype\":\"UINT8\",\"shape\":[2],\"parameters\":{\"binary_data_size\":2}}"

static void
test_as_alone(void **state)
{
	static const char *const texts[] = {
		"{\"inputs\":[" A "]}",
		"{\"id\":\"7\",\"parameters\":{\"binary_data_output\":true,\"a\":\"b\",\"n\":-3,\"x\":1.5},\"inputs\":"
		"[" A "],\"outputs\":[{\"name\":\"O\",\"parameters\":{\"classification\":3}}]}",
		"{\"inputs\":[{\"name\":\"\\u0041\\\"\",\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":{\"binary_"
		"data_size\":"
		"2,\"content_type\":\"str\"}}]}",
		"{\"inputs\":[{\"name\":\"Z\",\"datatype\":\"INT8\",\"shape\":[0],\"parameters\":{\"binary_data_size\":"
		"0}}," A "]}",
		"{\"inputs\":[{\"name\":\"J\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[300]}," A "]}", /* wraps */
		"{\"inputs\":[{\"name\":\"J\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[3]}," A "]}",
		"{\"inputs\":[" A "],\"unknown\":1}",
		"{\"inputs\":[" A "," A "]}", /* too few data */
		"{\"inputs\":[]}",	      /* too many */
		"{\"inputs\":[" A "]",
		"{\"inputs\":7}",
	};
	const uint8_t data[] = {1, 2};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		expect_as_alone(*state, texts[i], data, sizeof(data));
	}
	for (size_t i = sizeof(texts) / sizeof(*texts); i-- > 0;) { /* among others that came meanwhile */
		expect_as_alone(*state, texts[i], data, sizeof(data));
	}
}

/* Neither may data of another length, nor JSON that differs in one byte, pass for what is remembered. */
static void
test_what_is_not_the_same(void **state)
{
	struct fixture *fixture = *state;
	const uint8_t data[] = {1, 2, 3};
	char json[] = "{\"inputs\":[" A "]}";

	expect_as_alone(fixture, json, data, 2);
	for (size_t i = 0; i < 3; i++) {
		expect_as_alone(fixture, json, data, 3);
		expect_as_alone(fixture, json, data, 1);
		expect_as_alone(fixture, json, data, 0);
		expect_as_alone(fixture, json, data, 2);
	}
	for (size_t i = 0; json[i] != '\0'; i++) {
		char kept = json[i];

		json[i] = json[i] == 'x' ? 'y' : 'x';
		expect_as_alone(fixture, json, data, 2);
		json[i] = kept;
		expect_as_alone(fixture, json, data, 2);
	}
}

/* A request may be answered long after its JSON was forgotten. */
static void
test_what_is_held_stays(void **state)
{
	struct fixture *fixture = *state;
	struct bytes data = bytes_text("zz");
	struct infer_body bodies[TIMES];
	char json[256];

	for (size_t i = 0; i < TIMES; i++) {
		assert_int_equal(infer_memo_decode(fixture->memo, bytes_text("{\"id\":\"held\",\"inputs\":[" A "]}"),
						   data, bytes_text("m"), &fixture->arena, &bodies[i], &fixture->error),
				 STATUS_OK);
	}
	assert_null(bodies[0].shared);
	assert_non_null(bodies[TIMES - 1].shared);
	for (size_t i = 0; i < 100; i++) { /* each of them twice, so that it is remembered */
		(void)snprintf(json, sizeof(json), "{\"id\":\"%zu\",\"inputs\":[" A "]}", i / 2);
		expect_as_alone(fixture, json, data.at, data.length);
	}
	infer_memo_free(fixture->memo);
	fixture->memo = NULL;
	for (size_t i = 0; i < TIMES; i++) {
		assert_bytes(bodies[i].id, "held");
		assert_bytes(bodies[i].inputs[0].name, "A");
		assert_int_equal(bodies[i].inputs[0].shape[0], 2);
		assert_true(infer_body_is_plain(&bodies[i]));
		assert_true(i % 2 == 0 || infer_body_detach(&bodies[i], &fixture->arena));
		assert_bytes(bodies[i].inputs[0].name, "A");
		infer_body_fini(&bodies[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_as_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_not_the_same, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_held_stays, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("infer_memo", tests, NULL, NULL);
}
