#include "plugins/packed.h"

#include "base/buf.h"
#include "base/unit_test.h"

#include <stdlib.h>

static void
add(struct buf *out, uint64_t number, size_t size)
{
	buf_append(out, bytes_make(&number, size));
}

struct output {
	const char *name;
	const char *datatype;
	int64_t shape[3];
	size_t rank;
	const char *data;
	size_t length;
};

static void
pack(struct buf *out, const struct output *outputs, uint32_t count)
{
	buf_init(out, 1 << 16);
	add(out, count, 4);
	for (uint32_t i = 0; i < count; i++) {
		const struct output *output = &outputs[i];

		add(out,
		    4 + strlen(output->name) + 4 + strlen(output->datatype) + 4 + 8 * output->rank + 8 + output->length,
		    8);
		add(out, strlen(output->name), 4);
		buf_text(out, output->name);
		add(out, strlen(output->datatype), 4);
		buf_text(out, output->datatype);
		add(out, 8 * output->rank, 4);
		buf_append(out, bytes_make(output->shape, 8 * output->rank));
		add(out, output->length, 8);
		buf_append(out, bytes_make(output->data, output->length));
	}
	assert_true(buf_ok(out));
}

static enum packed_verdict
verdict_of(const struct output *outputs, uint32_t count)
{
	enum packed_verdict verdict;
	struct buf out;

	pack(&out, outputs, count);
	verdict = packed_check(buf_bytes(&out));
	buf_fini(&out);
	return verdict;
}

/* As a real tritonserver packed Y = INT32[1,2] {10, 12}. */
static void
test_observed(void **state)
{
	static const uint8_t observed[] = {
		1,   0,	  0,   0,   0x32, 0,  0, 0, 0, 0, 0, 0, 1,  0, 0, 0, 'Y', 5, 0, 0, 0,
		'I', 'N', 'T', '3', '2',  16, 0, 0, 0, 1, 0, 0, 0,  0, 0, 0, 0,	  2, 0, 0, 0,
		0,   0,	  0,   0,   8,	  0,  0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 12,  0, 0, 0,
	};

	(void)state;
	assert_int_equal(sizeof(observed), 62);
	assert_int_equal(packed_check(bytes_make(observed, sizeof(observed))), PACKED_GOOD);
}

static void
test_datatypes_and_shapes(void **state)
{
	static const struct output good[] = {
		{"A", "FP32", {2, 3}, 2, "012345678901234567890123", 24},
		{"B", "BYTES", {2}, 1, "\2\0\0\0ab\0\0\0\0", 10},
		{"C", "BOOL", {0}, 0, "\1", 1},
	};
	static const struct output bad[] = {
		{"A", "FP32", {2, 3}, 2, "01234567890123456789012", 23},
		{"A", "FP32", {2, -3}, 2, "012345678901234567890123", 24},
		{"A", "FP32", {INT64_MAX, INT64_MAX}, 2, "0123", 4},
		{"A", "FP31", {1}, 1, "0123", 4},
		{"", "FP32", {1}, 1, "0123", 4},
		{"A", "BYTES", {2}, 1, "\2\0\0\0ab", 6},
		{"A", "BYTES", {1}, 1, "\3\0\0\0ab", 6},
		{"A", "FP32", {0}, 1, "", 0},
	};

	(void)state;
	assert_int_equal(verdict_of(good, 3), PACKED_GOOD);
	assert_int_equal(verdict_of(good, 0), PACKED_EMPTY);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(verdict_of(&bad[i], 1), PACKED_MALFORMED);
	}
}

/* A response that is cut anywhere, or followed by one more byte, is malformed. */
static void
test_every_cut(void **state)
{
	static const struct output outputs[] = {
		{"OUT", "INT16", {1, 2}, 2, "abcd", 4},
		{"B", "BYTES", {1}, 1, "\1\0\0\0x", 5},
	};
	struct buf whole;

	(void)state;
	pack(&whole, outputs, 2);
	for (size_t length = 0; length < whole.length; length++) {
		uint8_t *exact = malloc(length == 0 ? 1 : length); /* so that a read past it shows */

		memcpy(exact, whole.at, length);
		assert_int_equal(packed_check(bytes_make(exact, length)), PACKED_MALFORMED);
		free(exact);
	}
	buf_byte(&whole, 0);
	assert_int_equal(packed_check(buf_bytes(&whole)), PACKED_MALFORMED);
	buf_fini(&whole);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_observed),
		cmocka_unit_test(test_datatypes_and_shapes),
		cmocka_unit_test(test_every_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
