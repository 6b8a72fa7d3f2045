#include "inference/models/row_trust.h"

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
		/* Trust is lost once; all stored entries are tainted then. */
		assert_false(row_trust_taints_store(&trust));
		assert_int_equal(row_trust_lose(&trust, ROWS_DEPENDENT), cases[i].together);
		assert_false(row_trust_lose(&trust, ROWS_MISSHAPEN));
		assert_int_equal(row_trust_taints_store(&trust), cases[i].together);
		assert_false(row_trust_by_row(&trust) || row_trust_together(&trust));
		assert_non_null(row_standing_name(cases[i].standing));
	}
}

/* Two purges, some time apart, and more after failures; until then the store is tainted. */
static void
test_purges(void **state)
{
	struct row_trust trust;
	uint64_t now = 1000;

	(void)state;
	row_trust_init(&trust, ROWS_NOT_CACHED, 8, 0.001);
	assert_false(row_trust_begin_purge(&trust, now));
	assert_true(row_trust_lose(&trust, ROWS_DEPENDENT));
	assert_true(row_trust_begin_purge(&trust, now));
	assert_false(row_trust_begin_purge(&trust, now)); /* one at a time */
	row_trust_end_purge(&trust, false, now);
	assert_false(row_trust_begin_purge(&trust, now));
	for (int i = 0; i < ROW_TRUST_PURGES; i++) {
		now += ROW_TRUST_PURGE_AGAIN_NS;
		assert_true(row_trust_taints_store(&trust));
		assert_true(row_trust_begin_purge(&trust, now));
		row_trust_end_purge(&trust, true, now);
	}
	assert_false(row_trust_taints_store(&trust));
	assert_false(row_trust_begin_purge(&trust, now + ROW_TRUST_PURGE_AGAIN_NS));
}

static void
test_the_first_are_audited(void **state)
{
	struct row_trust trust;

	(void)state;
	row_trust_init(&trust, ROWS_STATED, 8, 0.001);
	assert_int_equal(row_trust_first_audits(&trust, 5), 5);
	row_trust_give_back(&trust, 1);
	assert_int_equal(row_trust_first_audits(&trust, 5), 4);
	assert_int_equal(row_trust_first_audits(&trust, 5), 0);
	row_trust_init(&trust, ROWS_STATED, 0, 0.001);
	assert_int_equal(row_trust_first_audits(&trust, 5), 0);
	assert_false(row_trust_samples(&trust, 10000, 0));
	row_trust_init(&trust, ROWS_GUESSED, 8, 0.001); /* nothing is assembled */
	assert_int_equal(row_trust_first_audits(&trust, 5), 0);
}

/* One in 4096 is audited, unless that takes more than a hundredth of the time. */
static void
test_later_ones_are_few(void **state)
{
	static const struct row_difference same;
	struct row_trust trust;
	uint64_t audited = 0;

	(void)state;
	row_trust_init(&trust, ROWS_STATED, 8, 0.001);
	for (size_t i = 0; i < 100000; i++) {
		atomic_fetch_add(&trust.run_ns, 1000);
		audited += row_trust_samples(&trust, 1, 1000);
	}
	assert_int_equal(audited, 100000 / ROW_TRUST_SAMPLE);
	/* Each takes ten thousand times as long as a run. */
	row_trust_init(&trust, ROWS_STATED, 8, 0.001);
	audited = 0;
	for (size_t i = 0; i < 10000000; i++) {
		atomic_fetch_add(&trust.run_ns, 1000);
		if (row_trust_samples(&trust, 1, 10000000)) {
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
	return (struct tensor){.datatype = datatype, .rank = rank, .shape = shape, .data = bytes_make(data, length)};
}

static double
excess_of(enum datatype datatype, const void *a, const void *b, size_t count, double scale)
{
	int64_t shape = (int64_t)count;
	size_t length = count * datatype_size(datatype);
	struct tensor left = tensor_of(datatype, &shape, 1, a, length);
	struct tensor right = tensor_of(datatype, &shape, 1, b, length);
	struct row_difference difference = {0};

	row_difference_add(&difference, 3, &left, &right, scale == 0 ? row_scale(&left) : scale, 0.001);
	assert_int_equal(difference.bits, memcmp(a, b, length) != 0);
	assert_int_equal(difference.output, difference.excess > 0 ? 3 : 0);
	return difference.excess;
}

static void
test_floats(void **state)
{
	static const float base[] = {100, 0.5F, 0};
	static const struct {
		float other[3];
		double scale; /* of the batch; 0: of this row */
		bool passes;
	} cases[] = {
		{{100, 0.5F, 0}, 0, true},
		{{100.09F, 0.5F, 0}, 0, true}, /* a thousandth of itself */
		{{100.2F, 0.5F, 0}, 0, false},
		{{100, 0.5019F, 0}, 0, true}, /* two hundred-thousandths of the largest, and a thousandth of itself */
		{{100, 0.503F, 0}, 0, false}, /* though it is little beside the largest */
		{{100, 0.5F, 0.0019F}, 0, true}, /* rounding near zero */
		{{100, 0.5F, 0.01F}, 0, false},
		{{100, 0.5F, 0.01F}, 1000, true}, /* its neighbours are larger */
		{{100, NAN, 0}, 0, false},
		{{100, INFINITY, 0}, 0, false},
	};
	static const float odd[] = {NAN, INFINITY, -INFINITY};
	static const float zeros[] = {0, 0, 0};
	static const float tiny[] = {0, 1e-12F, 0};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		double excess = excess_of(DATATYPE_FP32, base, cases[i].other, 3, cases[i].scale);

		if ((excess <= 1) != cases[i].passes) {
			fail_msg("case %zu: excess %g", i, excess);
		}
	}
	assert_true(excess_of(DATATYPE_FP32, odd, odd, 3, 0) == 0);
	assert_true(isinf(excess_of(DATATYPE_FP32, odd, base, 3, 0)));
	assert_true(excess_of(DATATYPE_FP32, zeros, tiny, 3, 0) <= 1);
}

/* Some units in the last place are allowed, but not many. */
static void
test_coarse_floats(void **state)
{
	static const uint16_t half[] = {0x3c00, 0x3800}; /* 1, 0.5 */
	static const uint16_t half_near[] = {0x3c05, 0x3805};
	static const uint16_t half_far[] = {0x3c20, 0x3800};
	static const uint16_t brain[] = {0x3f80, 0x3f00}; /* 1, 0.5 */
	static const uint16_t brain_near[] = {0x3f82, 0x3f02};
	static const uint16_t brain_far[] = {0x3f80, 0x3f0a};
	static const double doubles[] = {1};
	static const double doubles_far[] = {1.002};

	(void)state;
	assert_true(excess_of(DATATYPE_FP16, half, half_near, 2, 0) <= 1);
	assert_true(excess_of(DATATYPE_FP16, half, half_far, 2, 0) > 1);
	assert_true(excess_of(DATATYPE_BF16, brain, brain_near, 2, 0) <= 1);
	assert_true(excess_of(DATATYPE_BF16, brain, brain_far, 2, 0) > 1);
	assert_true(excess_of(DATATYPE_FP64, doubles, doubles_far, 1, 0) > 1);
}

/* Shapes, datatypes and data that are not real numbers must be identical. */
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

		row_difference_add(&difference, 0, &base, &cases[i], 1, 1);
		assert_true(difference.bits && isinf(difference.excess));
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
		cmocka_unit_test(test_who_is_trusted),
		cmocka_unit_test(test_purges),
		cmocka_unit_test(test_the_first_are_audited),
		cmocka_unit_test(test_later_ones_are_few),
		cmocka_unit_test(test_floats),
		cmocka_unit_test(test_coarse_floats),
		cmocka_unit_test(test_everything_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
