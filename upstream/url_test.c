#include "upstream/url.h"

#include "base/unit_test.h"

#include <string.h>

static void
test_good(void **state)
{
	static const struct {
		const char *text;
		const char *host;
		uint16_t port;
		const char *authority;
		const char *path;
		bool tls;
		bool grpc;
	} cases[] = {
		{"http://triton:8000", "triton", 8000, "triton:8000", "", false, false},
		{"http://triton", "triton", 80, "triton", "", false, false},
		{"https://a.b/", "a.b", 443, "a.b", "", true, false},
		{"http://10.0.0.1:8/serving/x/", "10.0.0.1", 8, "10.0.0.1:8", "/serving/x", false, false},
		{"http://[::1]:9000", "::1", 9000, "[::1]:9000", "", false, false},
		{"http://[fe80::1]", "fe80::1", 80, "[fe80::1]", "", false, false},
		{"grpc://triton:8001", "triton", 8001, "triton:8001", "", false, true},
		{"grpcs://[::1]:443/", "::1", 443, "[::1]:443", "", true, true},
	};
	struct upstream_url url;
	struct error error;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(upstream_url_parse("--upstream=", cases[i].text, &url, &error), STATUS_OK);
		assert_string_equal(url.host, cases[i].host);
		assert_int_equal(url.port, cases[i].port);
		assert_string_equal(url.authority, cases[i].authority);
		assert_string_equal(url.path, cases[i].path);
		assert_int_equal(url.tls, cases[i].tls);
		assert_int_equal(url.grpc, cases[i].grpc);
		upstream_url_fini(&url);
	}
	assert_int_equal(upstream_url_parse("--upstream=", "unix:/run/a.sock", &url, &error), STATUS_OK);
	assert_string_equal(url.socket, "/run/a.sock");
	upstream_url_fini(&url);
}

/* Also what would add a line to each request. */
static void
test_bad(void **state)
{
	static const char *const cases[] = {
		"",
		"triton:8000",
		"ftp://a",
		"http://",
		"http://:80",
		"http://a:",
		"http://a:0",
		"http://a:65536",
		"http://a:8x",
		"http://[::1",
		"http://[::1]8",
		"http://a b",
		"http://a/\r\nX: y",
		"http://a?b",
		"unix:",
		"unix:relative",
		"redis://a",
		"grpc://a",
		"grpc://a:1/path",
	};
	struct upstream_url url;
	struct error error;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(upstream_url_parse("--upstream=", cases[i], &url, &error), STATUS_INVALID_ARGUMENT);
		assert_non_null(strstr(error.text, "--upstream="));
		assert_non_null(strstr(error.text, "give http://HOST:PORT"));
	}
}

static void
test_passwords_are_not_shown(void **state)
{
	struct upstream_url url;
	struct error error;

	(void)state;
	assert_int_equal(upstream_url_parse("--upstream=", "http://user:word@a", &url, &error),
			 STATUS_INVALID_ARGUMENT);
	assert_null(strstr(error.text, "word@"));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad),
						  cmocka_unit_test(test_passwords_are_not_shown)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
