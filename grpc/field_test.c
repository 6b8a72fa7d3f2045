/* Values of header fields, by tables. */
#include "grpc/field.h"

#include "base/clock.h"
#include "base/unit_test.h"

static void
test_timeouts(void **state)
{
	static const struct {
		const char *field;
		uint64_t ns;
	} good[] = {
		{"1H", 3600 * NS_PER_S},
		{"2M", 120 * NS_PER_S},
		{"10S", 10 * NS_PER_S},
		{"5m", 5 * NS_PER_MS},
		{"7u", 7000},
		{"9n", 9},
		{"0n", 0},
		{"00000001S", NS_PER_S},
		{"99999999m", 99999999 * NS_PER_MS},
		{"99999999H", UINT64_MAX / 2}, /* some 11,000 years are shortened */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		uint64_t ns = 1234567;

		assert_true(grpc_timeout_read(bytes_text(good[i].field), &ns));
		assert_int_equal(ns, good[i].ns);
	}
}

static void
test_malformed_timeouts(void **state)
{
	static const char *const bad[] = {"",	 "S",	"1",	"1s",  "1h", "-1S",	   "+1S",      " 1S",
					  "1S ", "1 S", "1.5S", "1SS", "S1", "123456789S", "1\xc2\xb5"};
	uint64_t ns;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_false(grpc_timeout_read(bytes_text(bad[i]), &ns));
	}
}

static void
test_percent_encoding(void **state)
{
	static const struct {
		const char *text;
		const char *encoded;
	} table[] = {
		{"", ""},
		{"plain", "plain"},
		{" ~!", " ~!"},
		{"100%", "100%25"},
		{"\t\r\n", "%09%0D%0A"},
		{"\x7f", "%7F"},
		{"\xc3\xa9t\xc3\xa9", "%C3%A9t%C3%A9"},
		{"\xff", "%FF"}, /* text that is no UTF-8 passes, too */
	};
	struct arena arena;

	(void)state;
	arena_init_small(&arena, 1 << 16);
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		assert_bytes(grpc_message_encode(bytes_text(table[i].text), &arena), table[i].encoded);
	}
	assert_bytes(grpc_message_encode(bytes_make("a\0b", 3), &arena), "a%00b");
	arena_fini(&arena);
}

static void
test_an_encoding_without_memory(void **state)
{
	struct arena arena;

	(void)state;
	arena_init_small(&arena, 8);
	assert_int_equal(grpc_message_encode(bytes_text("%%%%%%%%%%"), &arena).length, 0);
	assert_int_equal(grpc_message_encode(bytes_text("long and plain"), &arena).length, 0);
	arena_fini(&arena);
}

static void
test_content_types(void **state)
{
	static const char *const good[] = {"application/grpc", "application/grpc+proto",
					   "application/grpc;charset=utf-8", "Application/GRPC",
					   "application/grpc+proto; x=y"};
	static const char *const bad[] = {"",
					  "application/grp",
					  "application/grpc+json",
					  "application/grpc+protox",
					  "application/grpc-web",
					  "application/grpcx",
					  "text/plain",
					  " application/grpc"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_true(grpc_content_type_valid(bytes_text(good[i])));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_false(grpc_content_type_valid(bytes_text(bad[i])));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timeouts),	 cmocka_unit_test(test_malformed_timeouts),
		cmocka_unit_test(test_percent_encoding), cmocka_unit_test(test_an_encoding_without_memory),
		cmocka_unit_test(test_content_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
