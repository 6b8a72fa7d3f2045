#include "grpc/status.h"

#include "base/clock.h"
#include "base/unit_test.h"

#include <nghttp2/nghttp2.h>

/* At most eight digits; never less than what is left. */
static void
test_timeouts(void **state)
{
	static const struct {
		uint64_t ns;
		const char *field;
	} table[] = {
		{0, "0n"},
		{99999998, "99999998n"},
		{99999999, "100000u"},
		{1500000001, "1500001u"},
		{200 * NS_PER_S, "200000m"},
		{UINT64_MAX / 2, "99999999M"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		char text[GRPC_TIMEOUT_SIZE];

		grpc_timeout_write(table[i].ns, text);
		assert_string_equal(text, table[i].field);
	}
}

static void
test_codes_of_resets(void **state)
{
	(void)state;
	assert_int_equal(grpc_code_of_reset(NGHTTP2_REFUSED_STREAM), GRPC_UNAVAILABLE);
	assert_int_equal(grpc_code_of_reset(NGHTTP2_CANCEL), GRPC_CANCELLED);
	assert_int_equal(grpc_code_of_reset(NGHTTP2_NO_ERROR), GRPC_INTERNAL);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_codes_of_resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
