#include "plugins/patience.h"

#include "base/unit_test.h"

#define MS UINT64_C(1000000)
#define START (UINT64_C(5000000) * MS) /* the cut time wraps once, in between */

static struct digest_value
digest_of(uint8_t number)
{
	return (struct digest_value){.bytes = {number, 1}, .length = 16};
}

static void
test_one_key_that_is_late(void **state)
{
	struct patience patience = {0};
	struct digest_value large = digest_of(1);
	struct digest_value small = digest_of(2);

	(void)state;
	assert_true(patience_allows(&patience, &large, START));
	assert_int_equal(patience_note(&patience, &large, true, START), PATIENCE_AS_BEFORE);
	assert_true(patience_allows(&patience, &large, START)); /* once may be chance */
	assert_int_equal(patience_note(&patience, &large, true, START), PATIENCE_AS_BEFORE);
	assert_false(patience_allows(&patience, &large, START + 400 * MS));
	assert_true(patience_allows(&patience, &small, START + 400 * MS));
	assert_true(patience_allows(&patience, &large, START + 600 * MS));
	assert_int_equal(patience_note(&patience, &large, false, START + 600 * MS), PATIENCE_AS_BEFORE);
	assert_true(patience_allows(&patience, &large, START + 600 * MS));
}

static void
test_a_store_that_is_slow(void **state)
{
	struct patience patience = {0};
	struct digest_value digest;
	unsigned allowed = 0;

	(void)state;
	for (uint8_t i = 0; i < 20; i++) {
		digest = digest_of(i);
		assert_true(patience_allows(&patience, &digest, START));
		assert_int_equal(patience_note(&patience, &digest, true, START),
				 i == 19 ? PATIENCE_LOST : PATIENCE_AS_BEFORE);
	}
	digest = digest_of(200);
	for (uint64_t ms = 0; ms < 1000; ms++) {
		allowed += patience_allows(&patience, &digest, START + ms * MS);
	}
	assert_int_equal(allowed, 10);
	assert_true(patience_allows(&patience, &digest, START + 2000 * MS));
	assert_int_equal(patience_note(&patience, &digest, false, START + 2000 * MS), PATIENCE_FOUND);
	assert_true(patience_allows(&patience, &digest, START + 2000 * MS));
	assert_int_equal(patience_note(&patience, &digest, false, START + 2000 * MS), PATIENCE_AS_BEFORE);
}

static void
test_sizes(void **state)
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
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_key_that_is_late),
		cmocka_unit_test(test_a_store_that_is_slow),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
