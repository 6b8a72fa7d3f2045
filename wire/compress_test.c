#include "wire/compress.h"

#include "base/unit_test.h"

static void
test_there_and_back(void **state)
{
	static const enum coding codings[] = {CODING_GZIP, CODING_DEFLATE};
	static uint8_t large[300000];
	struct bytes pieces[] = {bytes_text("head"), bytes_make(large, sizeof(large)), bytes_text(""),
				 bytes_text("tail")};
	struct error error;

	(void)state;
	for (size_t i = 0; i < sizeof(large); i++) {
		large[i] = (uint8_t)(i * i >> 7);
	}
	for (size_t i = 0; i < 2; i++) {
		struct buf packed;
		struct buf plain;

		buf_init(&packed, 1 << 20);
		buf_init(&plain, sizeof(large) + 8);
		assert_int_equal(compress_pieces(codings[i], pieces, 4, &packed), STATUS_OK);
		assert_int_equal(decompress(codings[i], buf_bytes(&packed), &plain, &error), STATUS_OK);
		assert_int_equal(plain.length, sizeof(large) + 8);
		assert_memory_equal(plain.at + 4, large, sizeof(large));
		/* Truncated input and trailing bytes are refused. */
		for (size_t length = 0; length < packed.length; length += 997) {
			buf_clear(&plain);
			assert_int_not_equal(decompress(codings[i], bytes_make(packed.at, length), &plain, &error),
					     STATUS_OK);
		}
		buf_byte(&packed, 0);
		buf_clear(&plain);
		assert_int_not_equal(decompress(codings[i], buf_bytes(&packed), &plain, &error), STATUS_OK);
		buf_fini(&packed);
		buf_fini(&plain);
	}
}

static void
test_bomb(void **state)
{
	static uint8_t zeros[1 << 20];
	struct bytes piece = bytes_make(zeros, sizeof(zeros));
	struct error error;
	struct buf packed;
	struct buf plain;

	(void)state;
	buf_init(&packed, 1 << 20);
	buf_init(&plain, sizeof(zeros) - 1);
	assert_int_equal(compress_pieces(CODING_GZIP, &piece, 1, &packed), STATUS_OK);
	assert_int_equal(decompress(CODING_GZIP, buf_bytes(&packed), &plain, &error), STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(error.text, "exceeds the maximum"));
	buf_fini(&packed);
	buf_fini(&plain);
}

static void
test_negotiation(void **state)
{
	static const struct {
		const char *field;
		enum coding coding;
	} cases[] = {
		{"", CODING_IDENTITY},
		{"gzip", CODING_GZIP},
		{"GZIP , deflate", CODING_GZIP},
		{"deflate, gzip", CODING_DEFLATE},
		{"gzip;q=0.1, deflate;q=0.9", CODING_DEFLATE},
		{"gzip;q=0.5, identity;q=0.8", CODING_IDENTITY},
		{"br, *", CODING_IDENTITY},
		{"gzip;q=0", CODING_IDENTITY},
		{"gzip;q=0.x", CODING_IDENTITY},
		{"gzip;q=x", CODING_IDENTITY},
		{"gzip;q=1.9, deflate", CODING_GZIP},
		{"gzip;q=0.5, deflate;q=0.;;", CODING_GZIP},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(coding_negotiate(bytes_text(cases[i].field)), cases[i].coding);
	}
	assert_int_equal(coding_from_name(bytes_text("br")), CODING_UNKNOWN);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_negotiation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
