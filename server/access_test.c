#include "server/access.h"

#include "base/unit_test.h"

struct row {
	const char *host;
	const char *origin; /* NULL: no such field */
	bool own;	    /* accepted at a loopback address */
	bool open;	    /* accepted where any Host is */
};

static const struct row rows[] = {
	{"localhost", NULL, true, true},
	{"LocalHost:8002", NULL, true, true},
	{"127.0.0.1:8002", NULL, true, true},
	{"[::1]:8002", NULL, true, true},
	{"::1", NULL, false, true}, /* not a valid Host */
	{"machine:8002", NULL, true, true},
	{"cache.internal", NULL, true, true},
	{"", NULL, true, true},
	{"evil.example:8002", NULL, false, true},
	{"localhost.evil.example", NULL, false, true},
	{"127.0.0.1.evil.example", NULL, false, true},
	{"[::1", NULL, true, true},
	{"localhost:8002", "http://localhost:8002", true, true},
	{"localhost:8002", "http://localhost:9000", false, false},
	{"localhost:8002", "https://localhost:8002", true, true},
	{"localhost:8002", "http://evil.example", false, false},
	{"localhost:8002", "null", false, false},
	{"localhost:8002", "", false, false},
	{"localhost:8002", "file://localhost:8002", false, false},
	{"evil.example:8002", "http://evil.example:8002", false, false}, /* DNS rebinding */
};

static void
test_who_asks(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct bytes origin = rows[i].origin == NULL ? bytes_make(NULL, 0) : bytes_text(rows[i].origin);
		struct bytes host = bytes_text(rows[i].host);

		assert_int_equal(access_is_own(host, origin, "cache.internal", "machine", false), rows[i].own);
		assert_int_equal(access_is_own(host, origin, "cache.internal", "machine", true), rows[i].open);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
