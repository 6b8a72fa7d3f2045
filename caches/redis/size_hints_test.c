#include "caches/redis/size_hints.h"

#include "base/unit_test.h"

static void
test_last_length_counts(void **state)
{
	static struct size_hints hints;
	struct bytes one = bytes_text("model:1:aa");
	struct bytes other = bytes_text("model:2:aa");

	(void)state;
	assert_int_equal(size_hints_expect(&hints, one), 0);
	size_hints_note(&hints, one, 100);
	size_hints_note(&hints, other, 7);
	assert_int_equal(size_hints_expect(&hints, one), 100);
	assert_int_equal(size_hints_expect(&hints, other), 7);
	size_hints_note(&hints, one, (size_t)5 << 30);
	assert_int_equal(size_hints_expect(&hints, one), UINT32_MAX);
	assert_int_equal(size_hints_expect(&hints, bytes_text("model:3:aa")), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_length_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
