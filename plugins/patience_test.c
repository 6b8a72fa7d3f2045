#include "plugins/patience.h"

#include "base/unit_test.h"

#define MS UINT64_C(1000000)
#define START (UINT64_C(4294967000) * MS) /* the cut time wraps, in between */
#define TIMEOUT (5 * MS)

static struct digest_value
digest_of(uint8_t number)
{
	return (struct digest_value){.bytes = {number, 1}, .length = 16};
}

/* A look-up that began then and ended TIMEOUT later. */
static enum patience_change
late(struct patience *patience, uint8_t number, uint64_t start_ns)
{
	struct digest_value digest = digest_of(number);

	return patience_note(patience, &digest, true, start_ns, start_ns + TIMEOUT);
}

static enum patience_change
in_time(struct patience *patience, uint8_t number, uint64_t start_ns)
{
	struct digest_value digest = digest_of(number);

	return patience_note(patience, &digest, false, start_ns, start_ns + MS);
}

static bool
allows(struct patience *patience, uint8_t number, uint64_t now_ns)
{
	struct digest_value digest = digest_of(number);

	return patience_allows(patience, &digest, now_ns);
}

static void
test_one_key_that_is_late(void **state)
{
	struct patience patience = {0};

	(void)state;
	assert_true(allows(&patience, 1, START));
	assert_int_equal(late(&patience, 1, START), PATIENCE_AS_BEFORE);
	assert_true(allows(&patience, 1, START + 10 * MS)); /* once may be chance */
	assert_int_equal(late(&patience, 1, START + 10 * MS), PATIENCE_AS_BEFORE);
	assert_false(allows(&patience, 1, START + 10 * MS)); /* by a thread that read the clock before */
	assert_false(allows(&patience, 1, START + 500 * MS));
	assert_true(allows(&patience, 2, START + 500 * MS));
	assert_true(allows(&patience, 1, START + 600 * MS));
	assert_int_equal(in_time(&patience, 1, START + 600 * MS), PATIENCE_AS_BEFORE);
	assert_true(allows(&patience, 1, START + 610 * MS));
}

/* One hiccup, however many wait. */
static void
test_many_at_a_time(void **state)
{
	struct patience patience = {0};

	(void)state;
	for (uint8_t i = 0; i < 100; i++) {
		assert_int_equal(late(&patience, i % 4, START + i * MS / 50), PATIENCE_AS_BEFORE);
	}
	for (uint8_t i = 0; i < 4; i++) {
		assert_true(allows(&patience, i, START + 10 * MS));
	}
}

static void
test_a_store_that_is_slow(void **state)
{
	struct patience patience = {0};
	uint64_t now_ns = START;
	unsigned allowed = 0;

	(void)state;
	for (uint8_t i = 0; i < 20; i++) {
		assert_true(allows(&patience, i, now_ns));
		assert_int_equal(late(&patience, i, now_ns), i == 19 ? PATIENCE_LOST : PATIENCE_AS_BEFORE);
		now_ns += TIMEOUT;
	}
	for (uint64_t ms = 0; ms < 1000; ms++) {
		allowed += allows(&patience, 200, now_ns + ms * MS);
	}
	assert_int_equal(allowed, 9);
	assert_int_equal(late(&patience, 200, now_ns + 1000 * MS), PATIENCE_AS_BEFORE);
	assert_true(allows(&patience, 200, now_ns + 2000 * MS));
	assert_int_equal(in_time(&patience, 200, now_ns + 2000 * MS), PATIENCE_FOUND);
	assert_true(allows(&patience, 200, now_ns + 2000 * MS));
	assert_int_equal(in_time(&patience, 200, now_ns + 2000 * MS), PATIENCE_AS_BEFORE);
}

/* What is large takes its time: that says nothing of others. */
static void
test_large_values(void **state)
{
	struct patience patience = {0};
	struct digest_value large = digest_of(1);
	struct digest_value small = digest_of(2);

	(void)state;
	assert_int_equal(patience_size(&patience, &large), 0);
	patience_note_size(&patience, &large, (size_t)1 << 40);
	patience_note_size(&patience, &small, 100);
	assert_int_equal(patience_size(&patience, &large), UINT32_MAX);
	assert_int_equal(patience_size(&patience, &small), 100);
	for (uint64_t i = 0; i < 50; i++) {
		assert_int_equal(late(&patience, 1, START + i * 10 * MS), PATIENCE_AS_BEFORE);
	}
	assert_true(allows(&patience, 2, START + 500 * MS));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_key_that_is_late),
		cmocka_unit_test(test_many_at_a_time),
		cmocka_unit_test(test_a_store_that_is_slow),
		cmocka_unit_test(test_large_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
