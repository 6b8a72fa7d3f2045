#include "caches/redis/connection/address.h"

#include "base/unit_test.h"

static void
assert_reads(const char *text, const char *host, uint16_t port)
{
	struct redis_address address;

	assert_true(redis_address_read(bytes_text(text), 6379, &address));
	assert_string_equal(address.host, host);
	assert_int_equal(address.port, port);
}

static void
test_read(void **state)
{
	(void)state;
	assert_reads("cache", "cache", 6379);
	assert_reads("cache.example:7000", "cache.example", 7000);
	assert_reads("10.0.0.1:65535", "10.0.0.1", 65535);
	assert_reads("::1", "::1", 6379);
	assert_reads("fe80::1%eth0", "fe80::1%eth0", 6379);
	assert_reads("[::1]", "::1", 6379);
	assert_reads("[::1]:1", "::1", 1);
	assert_reads("/run/redis.sock", "/run/redis.sock", 0);
	assert_reads("/run/a:b 1", "/run/a:b 1", 0);
}

static void
test_read_refuses(void **state)
{
	static const char *const texts[] = {"",	      ":6379",	"a:",	   "a:0",      "a:65536",
					    "a:-1",   "a:+1",	"a: 1",	   "a:1x",     "a b",
					    "a/b:1",  "[",	"[]",	   "[]:1",     "[::1",
					    "[::1]x", "[::1]:", "[::1]:0", "[::1]1",   "[[::1]]:1",
					    "a]:1",   "a\t:1",	"a\x7f:1", "\xc3\xa4", "a:18446744073709551617"};
	struct redis_address address = {.host = "untouched", .port = 7};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_false(redis_address_read(bytes_text(texts[i]), 6379, &address));
	}
	assert_false(redis_address_read(bytes_make(NULL, 0), 6379, &address));
	assert_false(redis_address_read(bytes_make("a\0b", 3), 6379, &address));
	assert_false(redis_address_read(bytes_make("/a\0b", 4), 6379, &address));
	assert_false(redis_address_read(bytes_text("a"), 0, &address));
	assert_string_equal(address.host, "untouched");
	assert_int_equal(address.port, 7);
}

static void
test_lengths(void **state)
{
	struct redis_address address;
	char text[300];

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_true(redis_address_read(bytes_make(text, 255), 1, &address));
	assert_int_equal(strlen(address.host), 255);
	assert_false(redis_address_read(bytes_make(text, 256), 1, &address));
	assert_false(redis_address_read(bytes_make(text, 300), 1, &address));
	text[0] = '/';
	assert_true(redis_address_read(bytes_make(text, 107), 1, &address));
	assert_false(redis_address_read(bytes_make(text, 108), 1, &address));
}

static void
test_make(void **state)
{
	struct redis_address address;

	(void)state;
	assert_true(redis_address_make(bytes_text("a"), 1, &address));
	assert_false(redis_address_make(bytes_text("a"), 0, &address));
	assert_false(redis_address_make(bytes_text("a"), -1, &address));
	assert_false(redis_address_make(bytes_text("a"), INT64_MAX, &address));
	assert_false(redis_address_make(bytes_text("/run/redis.sock"), 1, &address));
	assert_true(redis_address_make_text(bytes_text("::1"), bytes_text("7831"), &address));
	assert_int_equal(address.port, 7831);
	assert_false(redis_address_make_text(bytes_text("a"), bytes_text(""), &address));
	assert_false(redis_address_make_text(bytes_text("a"), bytes_text("78 31"), &address));
}

static void
assert_prints(const char *text)
{
	char printed[REDIS_ADDRESS_TEXT_SIZE];
	struct redis_address again;
	struct redis_address address;

	assert_true(redis_address_read(bytes_text(text), 6379, &address));
	redis_address_print(&address, printed, sizeof(printed));
	assert_string_equal(printed, text);
	assert_true(redis_address_read(bytes_text(printed), 1, &again));
	assert_true(redis_address_equal(&address, &again));
}

static void
test_print(void **state)
{
	char text[REDIS_ADDRESS_TEXT_SIZE] = "[";
	struct redis_address address;

	(void)state;
	assert_prints("cache:7000");
	assert_prints("[::1]:6379");
	assert_prints("/run/redis.sock");
	memset(text + 1, ':', 255);
	memcpy(text + 256, "]:65535", 8);
	assert_prints(text);
	assert_true(redis_address_read(bytes_text("cache:7000"), 1, &address));
	redis_address_print(&address, text, 6);
	assert_string_equal(text, "cache");
}

static void
test_equal(void **state)
{
	struct redis_address a = {.host = "a", .port = 1};
	struct redis_address other_host = {.host = "ab", .port = 1};
	struct redis_address other_port = {.host = "a", .port = 2};

	(void)state;
	assert_true(redis_address_equal(&a, &a));
	assert_false(redis_address_equal(&a, &other_host));
	assert_false(redis_address_equal(&a, &other_port));
}

static void
assert_redirects(const char *text, enum redis_redirect kind, uint16_t slot, const char *host, uint16_t port)
{
	static const struct redis_address asked = {.host = "asked", .port = 7000};
	struct redis_address address;
	enum redis_redirect got_kind;
	uint16_t got_slot;

	assert_true(redis_redirect_read(bytes_text(text), &got_kind, &got_slot, &address, &asked));
	assert_int_equal(got_kind, kind);
	assert_int_equal(got_slot, slot);
	assert_string_equal(address.host, host);
	assert_int_equal(address.port, port);
}

static void
test_redirects(void **state)
{
	(void)state;
	assert_redirects("MOVED 3999 127.0.0.1:6381", REDIS_REDIRECT_MOVED, 3999, "127.0.0.1", 6381);
	assert_redirects("ASK 16383 node.example:1", REDIS_REDIRECT_ASK, 16383, "node.example", 1);
	assert_redirects("MOVED 0 2001:db8::1:6379", REDIS_REDIRECT_MOVED, 0, "2001:db8::1", 6379);
	assert_redirects("MOVED 12182 :7812", REDIS_REDIRECT_MOVED, 12182, "asked", 7812);
}

static void
test_redirects_refused(void **state)
{
	static const char *const texts[] = {"",
					    "MOVED",
					    "MOVED ",
					    "MOVED 1",
					    "MOVED 1 ",
					    "MOVED 1 a",
					    "MOVED 1 a:",
					    "MOVED 1 :",
					    "MOVED 1 ?:7000",
					    "MOVED 16384 a:1",
					    "MOVED -1 a:1",
					    "MOVED  1 a:1",
					    "MOVED x a:1",
					    "MOVED 1 a:0",
					    "MOVED 1 a:65536",
					    "MOVED 1 a:1 b:2",
					    "MOVED 1 /tmp/x:1",
					    "moved 1 a:1",
					    "MOVEDON 1 a:1",
					    "ASKING 1 a:1",
					    "ERR MOVED 1 a:1",
					    "MOVED 1 a\n:1",
					    "MOVED 99999999999999999999 a:1"};
	static const struct redis_address path = {.host = "/run/redis.sock"};
	struct redis_address address;
	enum redis_redirect kind;
	uint16_t slot;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_false(redis_redirect_read(bytes_text(texts[i]), &kind, &slot, &address, &path));
	}
	assert_false(redis_redirect_read(bytes_text("MOVED 1 :7000"), &kind, &slot, &address, &path));
}

static void
test_switch_master(void **state)
{
	static const char *const wrong[] = {
		"",
		"cache",
		"cache ",
		"cache a 1 b",
		"cache a 1 b 0",
		"cache a 1 b 2 3",
		"cache2 a 1 b 2",
		"other a 1 b 2",
		"cache  a 1 b 2",
		"cache a 1 b x",
		"cache a 1  2",
	};
	struct bytes name = bytes_text("cache");
	struct redis_address now;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		assert_false(redis_switch_master_read(bytes_text(wrong[i]), name, &now));
	}
	assert_true(redis_switch_master_read(bytes_text("cache 127.0.0.1 7831 ::1 7832"), name, &now));
	assert_string_equal(now.host, "::1");
	assert_int_equal(now.port, 7832);
	assert_true(redis_switch_master_read(bytes_text("my cache a 1 b 2"), bytes_text("my cache"), &now));
	assert_string_equal(now.host, "b");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),	      cmocka_unit_test(test_read_refuses),
		cmocka_unit_test(test_lengths),	      cmocka_unit_test(test_make),
		cmocka_unit_test(test_print),	      cmocka_unit_test(test_equal),
		cmocka_unit_test(test_redirects),     cmocka_unit_test(test_redirects_refused),
		cmocka_unit_test(test_switch_master),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
