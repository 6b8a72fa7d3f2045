/* Protobuf's wire format, against bytes from its documentation and the edges of its ranges. */
#include "base/protobuf.h"

#include "base/unit_test.h"

static struct bytes
literal(const char *text, size_t length)
{
	return bytes_make(text, length);
}
#define BYTES(text) literal(text, sizeof(text) - 1)

static void
test_varints(void **state)
{
	static const uint64_t values[] = {0, 1, 127, 128, 150, 16383, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		struct bytes rest;
		struct buf out;
		uint64_t value;

		buf_init(&out, 64);
		protobuf_put_varint(&out, values[i]);
		assert_int_equal(out.length, protobuf_varint_size(values[i]));
		rest = buf_bytes(&out);
		assert_true(protobuf_take_varint(&rest, &value));
		assert_true(value == values[i] && rest.length == 0);
		rest = bytes_make(out.at, out.length - 1); /* cut off */
		assert_false(protobuf_take_varint(&rest, &value));
		buf_fini(&out);
	}
}

static void
test_a_varint_that_does_not_end(void **state)
{
	struct bytes rest = BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
	uint64_t value;

	(void)state;
	assert_false(protobuf_take_varint(&rest, &value));
}

/* The documentation's examples: 150 in field 1, "testing" in field 2. */
static void
test_fields(void **state)
{
	struct bytes rest = BYTES("\x08\x96\x01"
				  "\x12\x07testing"
				  "\x1d\x01\x00\x00\x00"
				  "\x21\x02\x00\x00\x00\x00\x00\x00\x00");
	struct protobuf_field field;

	(void)state;
	assert_int_equal(protobuf_next(&rest, &field), PROTOBUF_FIELD);
	assert_true(field.number == 1 && field.type == PROTOBUF_VARINT && field.value == 150);
	assert_int_equal(field.record.length, 3);
	assert_int_equal(protobuf_next(&rest, &field), PROTOBUF_FIELD);
	assert_true(field.number == 2 && bytes_equal_text(field.bytes, "testing"));
	assert_int_equal(protobuf_next(&rest, &field), PROTOBUF_FIELD);
	assert_true(field.number == 3 && field.type == PROTOBUF_FIXED32 && field.value == 1);
	assert_int_equal(protobuf_next(&rest, &field), PROTOBUF_FIELD);
	assert_true(field.number == 4 && field.type == PROTOBUF_FIXED64 && field.value == 2);
	assert_int_equal(protobuf_next(&rest, &field), PROTOBUF_END);
}

static void
test_malformed_fields(void **state)
{
	const struct bytes cases[] = {
		BYTES("\x08"),					       /* no value */
		BYTES("\x00\x01"),				       /* field 0 */
		BYTES("\x12\x7f"),				       /* longer than the message */
		BYTES("\x1d\x01\x00"),				       /* a fixed number cut off */
		BYTES("\x0b\x0c"),				       /* a group */
		BYTES("\x0e"),					       /* a type that does not exist */
		BYTES("\xff\xff\xff\xff\xff\x01"),		       /* a number above 2^29 - 1 */
		BYTES("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), /* a length of 2^64 - 1 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct bytes rest = cases[i];
		struct protobuf_field field;
		enum protobuf_step step;

		do {
			step = protobuf_next(&rest, &field);
		} while (step == PROTOBUF_FIELD);
		assert_int_equal(step, PROTOBUF_MALFORMED);
	}
}

static void
test_utf8(void **state)
{
	static const struct {
		const char *text;
		bool valid;
	} cases[] = {
		{"", true},
		{"plain", true},
		{"\xc3\xa9", true},	     /* U+00E9 */
		{"\xe2\x82\xac", true},	     /* U+20AC */
		{"\xf0\x9f\x90\xb4", true},  /* U+1F434 */
		{"\xf4\x8f\xbf\xbf", true},  /* U+10FFFF */
		{"\xf4\x90\x80\x80", false}, /* above it */
		{"\xc0\x80", false},	     /* overlong */
		{"\xe0\x9f\xbf", false},     /* overlong */
		{"\xf0\x8f\xbf\xbf", false}, /* overlong */
		{"\xed\xa0\x80", false},     /* a surrogate */
		{"\x80", false},	     /* a continuation alone */
		{"\xe2\x82", false},	     /* cut off */
		{"a\xff", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(protobuf_is_utf8(bytes_text(cases[i].text)), cases[i].valid);
	}
}

/* Scalars and texts that have proto3's default are left out; bytes are not. */
static void
test_defaults_are_left_out(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 64);
	protobuf_put_number(&out, 1, 0);
	protobuf_put_text(&out, 2, bytes_make(NULL, 0));
	assert_int_equal(out.length, 0);
	protobuf_put_bytes(&out, 2, bytes_make(NULL, 0));
	assert_true(bytes_equal(buf_bytes(&out), BYTES("\x12\x00")));
	buf_fini(&out);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_varints), cmocka_unit_test(test_a_varint_that_does_not_end),
		cmocka_unit_test(test_fields),	cmocka_unit_test(test_malformed_fields),
		cmocka_unit_test(test_utf8),	cmocka_unit_test(test_defaults_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
