#include "upstream/via.h"

#include "base/unit_test.h"

#include <stdio.h>

static void
test_own(void **state)
{
	char list[200];

	(void)state;
	assert_string_equal(via_own(), via_own());
	(void)snprintf(list, sizeof(list), "1.1 gateway, %s, 2 other", via_own());
	assert_true(via_is_own(bytes_text(list)));
	assert_true(via_is_own(bytes_text(via_own())));
	assert_true(via_is_of_a_model(bytes_text(list)));
}

static void
test_others(void **state)
{
	static const char *const others[] = {"", "1.1 gateway", VIA_HTTP, VIA_GRPC, VIA_HTTP "-0123456789abcdef"};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		assert_false(via_is_own(bytes_text(others[i])));
		assert_int_equal(via_is_of_a_model(bytes_text(others[i])), i == 4);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
