#include "wire/grpc_code.h"

#include "base/unit_test.h"

static void
test_statuses(void **state)
{
	static const struct {
		const char *field;
		enum grpc_code code;
	} table[] = {{"0", GRPC_OK},	   {"14", GRPC_UNAVAILABLE}, {"16", GRPC_UNAUTHENTICATED},
		     {"17", GRPC_UNKNOWN}, {"", GRPC_UNKNOWN},	     {"-1", GRPC_UNKNOWN},
		     {"1x", GRPC_UNKNOWN}, {"000", GRPC_UNKNOWN},    {"5", GRPC_NOT_FOUND}};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		assert_int_equal(grpc_status_read(bytes_text(table[i].field)), table[i].code);
	}
}

static void
test_codes_of_http(void **state)
{
	(void)state;
	assert_int_equal(grpc_code_of_http(503), GRPC_UNAVAILABLE);
	assert_int_equal(grpc_code_of_http(404), GRPC_UNIMPLEMENTED);
	assert_int_equal(grpc_code_of_http(200), GRPC_UNKNOWN);
}

/* Who asks over HTTP for a client of gRPC finds the code again: see passes() in server/grpc_infer.c. */
static void
test_http_statuses(void **state)
{
	static const int statuses[] = {200, 400, 400, 400, 504, 404, 400, 403, 429,
				       400, 409, 400, 501, 500, 503, 400, 401};
	static const int unique[] = {404, 500, 501, 503};

	(void)state;
	for (unsigned code = GRPC_OK; code <= GRPC_UNAUTHENTICATED; code++) {
		assert_int_equal(grpc_http_status((enum grpc_code)code), statuses[code]);
	}
	for (size_t i = 0; i < sizeof(unique) / sizeof(*unique); i++) {
		unsigned found = 0;

		for (unsigned code = GRPC_OK; code <= GRPC_UNAUTHENTICATED; code++) {
			found += grpc_http_status((enum grpc_code)code) == unique[i];
		}
		assert_int_equal(found, 1);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_codes_of_http),
		cmocka_unit_test(test_http_statuses),
	};

	return cmocka_run_group_tests_name("grpc_code", tests, NULL, NULL);
}
