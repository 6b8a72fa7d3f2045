#include "inference/models/classification.h"

#include "base/unit_test.h"

static struct arena arena;

static struct tensor
run(enum datatype datatype, const int64_t *shape, size_t rank, struct bytes data, bool batches, uint32_t classes,
    const struct labels *labels)
{
	struct tensor output = {
		.name = bytes_text("O"), .datatype = datatype, .rank = rank, .shape = shape, .data = data};
	struct tensor result;
	struct error error;

	assert_int_equal(classify(&output, batches, classes, labels, &arena, &result, &error), STATUS_OK);
	assert_int_equal(result.datatype, DATATYPE_BYTES);
	return result;
}

static void
test_order_and_labels(void **state)
{
	static const float values[] = {0.5F, 2.0F, -1.0F, 2.0F, 0.0F / 0.0F};
	struct bytes lines[] = {bytes_text("cat"), bytes_text("dog")};
	struct labels labels = {.count = 2, .lines = lines};
	struct tensor result =
		run(DATATYPE_FP32, (int64_t[]){5}, 1, bytes_make(values, sizeof(values)), false, 4, &labels);

	(void)state;
	assert_int_equal(result.rank, 1);
	assert_int_equal(result.shape[0], 4);
	assert_bytes(tensor_next_string(&result.data), "2.000000:1:dog");
	assert_bytes(tensor_next_string(&result.data), "2.000000:3");
	assert_bytes(tensor_next_string(&result.data), "0.500000:0:cat");
	assert_bytes(tensor_next_string(&result.data), "-1.000000:2");
}

static void
test_batches_and_integers(void **state)
{
	static const int16_t values[] = {1, -7, 3, 300, 2, 5};
	struct tensor result =
		run(DATATYPE_INT16, (int64_t[]){2, 3}, 2, bytes_make(values, sizeof(values)), true, 9, NULL);

	(void)state;
	assert_int_equal(result.rank, 2);
	assert_int_equal(result.shape[0], 2);
	assert_int_equal(result.shape[1], 3);
	assert_bytes(tensor_next_string(&result.data), "3:2");
	assert_bytes(tensor_next_string(&result.data), "1:0");
	assert_bytes(tensor_next_string(&result.data), "-7:1");
	assert_bytes(tensor_next_string(&result.data), "300:0");
}

static void
test_refusals(void **state)
{
	struct tensor output = {.name = bytes_text("O"), .datatype = DATATYPE_BYTES};
	struct tensor result;
	struct error error;

	(void)state;
	assert_int_equal(classify(&output, false, 1, NULL, &arena, &result, &error), STATUS_INVALID_ARGUMENT);
	assert_string_equal(error.text, "class result not available for output due to unsupported type 'BYTES'");
}

static int
set_up(void **state)
{
	(void)state;
	arena_init(&arena, 1 << 20);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_labels),
		cmocka_unit_test(test_batches_and_integers),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
