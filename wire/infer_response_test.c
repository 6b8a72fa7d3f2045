#include "wire/infer_response.h"

#include "base/buf.h"
#include "base/protobuf.h"
#include "base/unit_test.h"

#include <stdlib.h>

struct fixture {
	struct arena arena;
	struct buf message;
	struct infer_response response;
	struct error error;
};

static int
set_up(void **state)
{
	struct fixture *this = calloc(1, sizeof(*this));

	arena_init(&this->arena, 1 << 20);
	buf_init(&this->message, 1 << 20);
	*state = this;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *this = *state;

	arena_fini(&this->arena);
	buf_fini(&this->message);
	free(this);
	return 0;
}

/* An output of two elements, with `contents` in that field of InferTensorContents; 0: without any. */
static void
put_output(struct fixture *this, const char *name, const char *datatype, uint32_t field, struct bytes contents)
{
	struct buf output;
	struct buf typed;

	buf_init(&output, 1 << 10);
	buf_init(&typed, 1 << 10);
	protobuf_put_text(&output, 1, bytes_text(name));
	protobuf_put_text(&output, 2, bytes_text(datatype));
	protobuf_put_bytes(&output, 3, bytes_text("\x02"));
	if (field > 0) {
		protobuf_put_bytes(&typed, field, contents);
		protobuf_put_bytes(&output, 5, buf_bytes(&typed));
	}
	protobuf_put_bytes(&this->message, 5, buf_bytes(&output));
	buf_fini(&output);
	buf_fini(&typed);
}

static enum status
decode(struct fixture *this)
{
	return infer_response_decode(buf_bytes(&this->message), &this->arena, &this->response, &this->error);
}

static void
test_raw_contents(void **state)
{
	struct fixture *this = *state;

	protobuf_put_text(&this->message, 1, bytes_text("m"));
	protobuf_put_text(&this->message, 2, bytes_text("3"));
	protobuf_put_text(&this->message, 3, bytes_text("7"));
	put_output(this, "A", "UINT8", 0, bytes_text(""));
	put_output(this, "B", "INT8", 0, bytes_text(""));
	protobuf_put_bytes(&this->message, 6, bytes_text("ab"));
	protobuf_put_bytes(&this->message, 6, bytes_text("cd"));
	assert_int_equal(decode(this), STATUS_OK);
	assert_bytes(this->response.model_name, "m");
	assert_bytes(this->response.model_version, "3");
	assert_bytes(this->response.id, "7");
	assert_int_equal(this->response.output_count, 2);
	assert_bytes(this->response.outputs[0].name, "A");
	assert_int_equal(this->response.outputs[1].datatype, DATATYPE_INT8);
	assert_int_equal(this->response.outputs[1].shape[0], 2);
	assert_bytes(this->response.outputs[0].data, "ab");
	assert_bytes(this->response.outputs[1].data, "cd");
	assert_false(this->response.has_more);
}

/* As servers of other languages give them. */
static void
test_typed_contents(void **state)
{
	struct fixture *this = *state;

	put_output(this, "A", "INT32", 2, bytes_text("\x01\x7f"));
	put_output(this, "B", "BOOL", 1, bytes_make("\x01\x00", 2));
	assert_int_equal(decode(this), STATUS_OK);
	assert_true(bytes_equal(this->response.outputs[0].data, bytes_make("\x01\0\0\0\x7f\0\0\0", 8)));
	assert_true(bytes_equal(this->response.outputs[1].data, bytes_make("\x01\x00", 2)));
}

/* An output would get the data of another one. */
static void
test_raw_contents_that_are_not_one_for_each(void **state)
{
	struct fixture *this = *state;

	put_output(this, "A", "UINT8", 0, bytes_text(""));
	put_output(this, "B", "UINT8", 0, bytes_text(""));
	protobuf_put_bytes(&this->message, 6, bytes_text("ab"));
	assert_int_equal(decode(this), STATUS_INTERNAL);
	protobuf_put_bytes(&this->message, 6, bytes_text("cd"));
	assert_int_equal(decode(this), STATUS_OK);
	protobuf_put_bytes(&this->message, 6, bytes_text("ef"));
	assert_int_equal(decode(this), STATUS_INTERNAL);
}

static void
test_raw_and_typed_contents(void **state)
{
	struct fixture *this = *state;

	put_output(this, "A", "INT32", 2, bytes_text("\x01\x02"));
	protobuf_put_bytes(&this->message, 6, bytes_text("ab"));
	assert_int_equal(decode(this), STATUS_INTERNAL);
}

static void
test_what_is_not_known(void **state)
{
	struct fixture *this = *state;

	protobuf_put_bytes(&this->message, 9, bytes_text("x"));
	assert_int_equal(decode(this), STATUS_OK);
	assert_true(this->response.has_more);
}

/* The server's fault, in whatever way it is one. */
static void
test_contents_of_another_type(void **state)
{
	struct fixture *this = *state;

	put_output(this, "A", "INT32", 3, bytes_text("\x01\x02"));
	assert_int_equal(decode(this), STATUS_INTERNAL);
	assert_string_equal(this->error.text, "it is no inference response of the protocol");
}

static void
test_malformed(void **state)
{
	struct fixture *this = *state;

	buf_append(&this->message, bytes_text("\x2a\x05\x0a"));
	assert_int_equal(decode(this), STATUS_INTERNAL);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_raw_contents),
		TEST(test_typed_contents),
		TEST(test_raw_contents_that_are_not_one_for_each),
		TEST(test_raw_and_typed_contents),
		TEST(test_what_is_not_known),
		TEST(test_contents_of_another_type),
		TEST(test_malformed),
	};

	return cmocka_run_group_tests_name("infer_response", tests, NULL, NULL);
}
