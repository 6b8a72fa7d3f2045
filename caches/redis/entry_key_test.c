#include "caches/redis/entry_key.h"

#include "base/unit_test.h"

#include <stdio.h>

#define DIGEST "000102030405060708090a0b0c0d0e0f"

static void
write_key(const char *prefix, const char *scope, struct buf *out)
{
	struct digest_value digest = {.length = 16};

	for (uint8_t i = 0; i < 16; i++) {
		digest.bytes[i] = i;
	}
	buf_init(out, 1000);
	entry_key_write(out, prefix, bytes_text(scope), &digest);
}

static void
test_there_and_back(void **state)
{
	static const struct {
		const char *model;
		const char *written;
	} rows[] = {{"simple", "simple"}, {"a:b", "a%3Ab"}, {"50%", "50%25"}, {"%3A", "%253A"}, {":", "%3A"}};
	char scope[100];
	char expected[200];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct bytes model;
		struct bytes version;
		uint8_t room[200];
		struct buf key;

		(void)snprintf(scope, sizeof(scope), "%s:12:abc123", rows[i].model);
		(void)snprintf(expected, sizeof(expected), "app:%s:12:abc123:" DIGEST, rows[i].written);
		write_key("app", scope, &key);
		assert_bytes(buf_bytes(&key), expected);
		assert_true(entry_key_read(buf_bytes(&key), "app", room, &model, &version));
		assert_bytes(model, rows[i].model);
		assert_bytes(version, "12");
		buf_fini(&key);
	}
}

static void
test_what_is_no_entry_of_ours(void **state)
{
	static const char *const keys[] = {
		"app",
		"app:",
		"app:key_secret",
		"app:purges",
		"apple:simple:1:abc:" DIGEST,
		"app:staging:simple:1:abc:" DIGEST, /* of the prefix app:staging */
		"app:a:b:c:d",
		"app:simple:1:abc:0123",
		"app:simple:1:abc:" DIGEST "0",
		"app:simple:1:abc:" DIGEST ":",
		"app:simple:one:abc:" DIGEST,
		"app:simple::abc:" DIGEST,
		"app::1:abc:" DIGEST,
		"app:a%b:1:abc:" DIGEST,
		"app:lock:simple:1:abc:" DIGEST,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		struct bytes model;
		struct bytes version;
		uint8_t room[200];

		assert_false(entry_key_read(bytes_text(keys[i]), "app", room, &model, &version));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_what_is_no_entry_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
