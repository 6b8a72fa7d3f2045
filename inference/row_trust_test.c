#include "inference/row_trust.h"

#include "base/unit_test.h"

#include <math.h>

static void
test_who_is_trusted(void **state)
{
	static const struct {
		enum row_standing standing;
		bool by_row;
		bool together;
	} cases[] = {
		{ROWS_STATED, true, true},	{ROWS_NOT_CACHED, false, true}, {ROWS_NONE, false, false},
		{ROWS_GUESSED, false, false},	{ROWS_MISSHAPEN, false, false}, {ROWS_DEPENDENT, false, false},
		{ROWS_OF_MEMBER, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct row_trust trust;

		row_trust_init(&trust, cases[i].standing, 8, 0.001);
		assert_int_equal(row_trust_by_row(&trust), cases[i].by_row);
		assert_int_equal(row_trust_together(&trust), cases[i].together);
		/* It is lost once, and a purge is due where there may be entries of rows. */
		assert_int_equal(row_trust_lose(&trust, ROWS_DEPENDENT), cases[i].together);
		assert_false(row_trust_lose(&trust, ROWS_MISSHAPEN));
		assert_int_equal(row_trust_take_purge(&trust), cases[i].by_row);
		assert_false(row_trust_take_purge(&trust));
		assert_false(row_trust_by_row(&trust) || row_trust_together(&trust));
		assert_non_null(row_standing_name(cases[i].standing));
	}
}

static void
test_the_first_are_audited(void **state)
{
	struct row_trust trust;

	(void)state;
	row_trust_init(&trust, ROWS_STATED, 8, 0.001);
	assert_int_equal(row_trust_audits_due(&trust, 5, 1), 5);
	assert_int_equal(row_trust_audits_due(&trust, 5, 1), 3);
	assert_int_equal(row_trust_audits_due(&trust, 5, 1), 0);
	row_trust_init(&trust, ROWS_STATED, 0, 0.001);
	assert_int_equal(row_trust_audits_due(&trust, 5, 1), 0);
	row_trust_init(&trust, ROWS_GUESSED, 8, 0.001); /* nothing is put together */
	assert_int_equal(row_trust_audits_due(&trust, 5, 1), 0);
}

/* One in 4096, and never so many that they take more than a hundredth of the time. */
static void
test_later_ones_are_few(void **state)
{
	static const struct row_difference same;
	struct row_trust trust;
	uint64_t audited = 0;

	(void)state;
	row_trust_init(&trust, ROWS_STATED, 8, 0.001);
	(void)row_trust_audits_due(&trust, 8, 1);
	for (size_t i = 0; i < 100000; i++) {
		atomic_fetch_add(&trust.run_ns, 1000);
		audited += row_trust_audits_due(&trust, 1, 1000);
	}
	assert_int_equal(audited, 100008 / 4096);
	/* Each takes ten thousand times as long as a run. */
	row_trust_init(&trust, ROWS_STATED, 8, 0.001);
	audited = 0;
	for (size_t i = 0; i < 10000000; i++) {
		atomic_fetch_add(&trust.run_ns, 1000);
		if (row_trust_audits_due(&trust, 1, 10000000) > 0 && i >= 8) {
			audited++;
			(void)row_trust_count_audit(&trust, &same, 10000000);
		}
	}
	assert_true(audited > 0);
	assert_true(atomic_load(&trust.audit_ns) * 100 <= atomic_load(&trust.run_ns));
}

/* --- Comparing --- */

static struct tensor
tensor_of(enum datatype datatype, const int64_t *shape, size_t rank, const void *data, size_t length)
{
	return (struct tensor){
		.datatype = datatype, .rank = rank, .shape = shape, .data = bytes_make(data, length)};
}

static struct row_difference
compare_floats(const float *a, const float *b, size_t count, double tolerance)
{
	int64_t shape = (int64_t)count;
	struct tensor left = tensor_of(DATATYPE_FP32, &shape, 1, a, count * sizeof(*a));
	struct tensor right = tensor_of(DATATYPE_FP32, &shape, 1, b, count * sizeof(*b));
	struct row_difference difference = {0};

	row_difference_add(&difference, 3, &left, &right, tolerance);
	return difference;
}

static void
test_floats(void **state)
{
	static const float base[] = {100, 0.001F, -50};
	static const float near[] = {100.05F, 0.001F, -50}; /* 0.05 % of the largest */
	static const float small[] = {100, 0.051F, -50};    /* 50 times as much, but little beside the others */
	static const float far[] = {100, 0.001F, -42};
	static const float odd[] = {100, NAN, -50};
	static const float infinite[] = {100, INFINITY, -50};
	struct row_difference difference;

	(void)state;
	difference = compare_floats(base, base, 3, 0.001);
	assert_false(difference.bits);
	assert_true(difference.worst == 0);
	difference = compare_floats(base, near, 3, 0.001);
	assert_true(difference.bits && difference.worst > 0.0004 && difference.worst < 0.0006);
	assert_int_equal(difference.output, 3);
	difference = compare_floats(base, small, 3, 0.001);
	assert_true(difference.worst < 0.001);
	difference = compare_floats(base, far, 3, 0.001);
	assert_true(difference.worst > 0.079 && difference.worst < 0.081);
	assert_true(isinf(compare_floats(base, odd, 3, 0.001).worst));
	assert_true(isinf(compare_floats(base, infinite, 3, 0.001).worst));
	assert_true(compare_floats(odd, odd, 3, 0.001).worst == 0);
	assert_true(compare_floats(infinite, infinite, 3, 0.001).worst == 0);
}

/* One unit in the last place of FP16 is 1/1024 of a number; sixteen of them are let pass. */
static void
test_coarse_floats(void **state)
{
	static const uint16_t half[] = {0x3c00}; /* 1 */
	static const uint16_t half_near[] = {0x3c07};
	static const uint16_t half_far[] = {0x3c20};
	static const uint16_t brain[] = {0x3f80}; /* 1 */
	static const uint16_t brain_near[] = {0x3f87};
	static const uint16_t brain_far[] = {0x3fa0};
	static const struct {
		enum datatype datatype;
		const uint16_t *a;
		const uint16_t *b;
		bool passes;
	} cases[] = {
		{DATATYPE_FP16, half, half_near, true},	  {DATATYPE_FP16, half, half_far, false},
		{DATATYPE_BF16, brain, brain_near, true}, {DATATYPE_BF16, brain, brain_far, false},
	};
	static const int64_t shape = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct tensor left = tensor_of(cases[i].datatype, &shape, 1, cases[i].a, 2);
		struct tensor right = tensor_of(cases[i].datatype, &shape, 1, cases[i].b, 2);
		struct row_difference difference = {0};

		row_difference_add(&difference, 0, &left, &right, 0.001);
		assert_true(difference.bits);
		assert_int_equal(difference.worst <= 0.001, cases[i].passes);
	}
}

/* Shapes, datatypes and all that is no real number are the same or they are not. */
static void
test_everything_else(void **state)
{
	static const int64_t flat[] = {4};
	static const int64_t square[] = {2, 2};
	static const uint8_t bytes[] = {1, 2, 3, 4};
	static const uint8_t others[] = {1, 2, 3, 5};
	struct tensor base = tensor_of(DATATYPE_UINT8, flat, 1, bytes, 4);
	struct tensor cases[] = {
		tensor_of(DATATYPE_UINT8, flat, 1, others, 4),
		tensor_of(DATATYPE_UINT8, square, 2, bytes, 4),
		tensor_of(DATATYPE_INT8, flat, 1, bytes, 4),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct row_difference difference = {0};
		struct row_trust trust;

		row_difference_add(&difference, 0, &base, &cases[i], 1);
		assert_true(difference.bits && isinf(difference.worst));
		row_trust_init(&trust, ROWS_STATED, 8, 1);
		assert_true(row_trust_count_audit(&trust, &difference, 5));
		assert_int_equal(atomic_load(&trust.mismatched), 1);
		assert_int_equal(atomic_load(&trust.different), 0);
		assert_int_equal(atomic_load(&trust.audited), 1);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_is_trusted),	   cmocka_unit_test(test_the_first_are_audited),
		cmocka_unit_test(test_later_ones_are_few), cmocka_unit_test(test_floats),
		cmocka_unit_test(test_coarse_floats),	   cmocka_unit_test(test_everything_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
