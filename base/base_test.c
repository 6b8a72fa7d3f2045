#include "base/arena.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/metric.h"
#include "base/option.h"
#include "base/tensor.h"
#include "base/unit_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void
test_buf_is_bounded(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 10);
	buf_text(&buf, "12345");
	buf_text(&buf, "67890");
	assert_true(buf_ok(&buf));
	buf_byte(&buf, 'x');
	assert_false(buf_ok(&buf));
	assert_bytes(buf_bytes(&buf), "1234567890");
	buf_clear(&buf);
	buf_format(&buf, "%d-%s", 42, "a");
	assert_bytes(buf_bytes(&buf), "42-a");
	buf_fini(&buf);
}

static void
test_buf_numbers_and_json(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 1000);
	buf_signed(&buf, INT64_MIN);
	buf_byte(&buf, ' ');
	buf_unsigned(&buf, UINT64_MAX);
	buf_byte(&buf, ' ');
	buf_json_string(&buf, bytes_text("a\"\\\n\x01\xc3\xa4"));
	assert_bytes(buf_bytes(&buf), "-9223372036854775808 18446744073709551615 \"a\\\"\\\\\\n\\u0001\xc3\xa4\"");
	buf_fini(&buf);
}

static void
test_small_numbers(void **state)
{
	struct buf buf;
	char expected[8];

	(void)state;
	buf_init(&buf, 3);
	for (unsigned number = 0; number < 1000; number++) {
		(void)snprintf(expected, sizeof(expected), "%u", number);
		buf_clear(&buf);
		buf_unsigned(&buf, number);
		assert_bytes(buf_bytes(&buf), expected);
	}
	buf_unsigned(&buf, 0); /* past the maximum */
	assert_false(buf_ok(&buf));
	buf_clear(&buf);
	buf_unsigned(&buf, 10);
	buf_unsigned(&buf, 7);
	assert_true(buf_ok(&buf));
	assert_bytes(buf_bytes(&buf), "107");
	buf_fini(&buf);
}

static void
test_arena(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena, 100000);
	for (int round = 0; round < 3; round++) {
		for (size_t size = 0; size < 300; size++) {
			uint8_t *at = arena_get(&arena, size);

			assert_non_null(at);
			assert_int_equal((uintptr_t)at % _Alignof(max_align_t), 0);
			for (size_t i = 0; i < size; i++) {
				assert_int_equal(at[i], 0);
			}
			memset(at, 0xff, size);
		}
		assert_null(arena_get(&arena, 100000));
		assert_null(arena_get(&arena, SIZE_MAX));
		assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
		assert_string_equal(arena_copy(&arena, bytes_text("abc")).at, "abc");
		arena_clear(&arena);
	}
	arena_fini(&arena);
}

static void
test_sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} good[] = {{"0", 0},  {"1048576", 1048576}, {"64MB", 64000000}, {"1GiB", 1 << 30}, {"512k", 524288},
		    {"3B", 3}, {"2TiB", 2LL << 40}};
	static const char *const bad[] = {"", "MB", "-1", "1 MB", "1XB", "1.5MB", "99999999999TB", "0x10"};
	int64_t bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		assert_true(option_parse_size(good[i].text, &bytes));
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_false(option_parse_size(bad[i], &bytes));
	}
}

struct settings {
	char *name;
	bool on;
	int64_t count;
	int mode;
};

static const char *const modes[] = {"slow", "fast", NULL};
static const struct option options[] = {
	{.name = "name", .kind = OPTION_TEXT, .offset = offsetof(struct settings, name), .preset = "x"},
	{.name = "on", .kind = OPTION_BOOLEAN, .offset = offsetof(struct settings, on), .preset = "true"},
	{.name = "count",
	 .kind = OPTION_INTEGER,
	 .offset = offsetof(struct settings, count),
	 .preset = "3",
	 .minimum = 1,
	 .maximum = 9,
	 .word = "many"},
	{.name = "mode", .kind = OPTION_CHOICE, .offset = offsetof(struct settings, mode), .choices = modes},
};

static void
test_durations(void **state)
{
	static const struct {
		const char *unit;
		const char *text;
		int64_t number; /* -1: refused */
	} durations[] = {
		{"s", "90", 90},     {"s", "90s", 90},	 {"s", "15m", 900},
		{"s", "1h", 3600},   {"s", "1d", 86400}, {"s", "2000ms", 2},
		{"s", "1500ms", -1}, {"s", "1w", -1},	 {"s", "h", -1},
		{"s", "1 h", -1},    {"ms", "250", 250}, {"ms", "250ms", 250},
		{"ms", "2s", 2000},  {"ms", "1h", -1},	 {"bytes", "5s", -1},
		{NULL, "5s", -1},    {"s", "1h30m", -1}, {"s", "9999999999999999d", -1},
	};
	struct error error;

	(void)state;
	for (size_t i = 0; i < sizeof(durations) / sizeof(*durations); i++) {
		struct option duration = {
			.name = "d", .kind = OPTION_INTEGER, .maximum = 1000000, .unit = durations[i].unit};
		int64_t number = -1;

		assert_int_equal(option_set(&duration, &number, durations[i].text, &error) == STATUS_OK,
				 durations[i].number >= 0);
		assert_int_equal(number, durations[i].number);
	}
}

static void
test_options(void **state)
{
	struct option_table table = {options, 4};
	struct settings settings = {0};
	struct error error;

	(void)state;
	option_presets(table, &settings);
	assert_string_equal(settings.name, "x");
	assert_true(settings.on);
	assert_int_equal(settings.count, 3);
	assert_int_equal(option_set(&options[3], &settings, "FAST", &error), STATUS_OK);
	assert_int_equal(settings.mode, 1);
	assert_int_equal(option_set(&options[2], &settings, "10", &error), STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(error.text, "'10' for 'count': expected many or a whole number between 1 and 9"));
	assert_int_equal(option_set(&options[2], &settings, "0", &error), STATUS_INVALID_ARGUMENT);
	assert_int_equal(option_set(&options[2], &settings, "many", &error), STATUS_OK);
	assert_int_equal(settings.count, 0);
	assert_int_equal(option_set(&options[2], &settings, "5s", &error), STATUS_INVALID_ARGUMENT);
	assert_int_equal(option_set(&options[1], &settings, "yes", &error), STATUS_INVALID_ARGUMENT);
	assert_int_equal(option_set(&options[3], &settings, "medium", &error), STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(error.text, "slow, fast"));
	assert_null(option_find(table, bytes_text("coun")));
	option_fini(table, &settings);
}

static void
test_nearest(void **state)
{
	static const char *const names[] = {"http-port", "metrics-port", "log-file"};

	(void)state;
	assert_string_equal(option_nearest(names, 3, bytes_text("htp-port")), "http-port");
	assert_string_equal(option_nearest(names, 3, bytes_text("logfile")), "log-file");
	assert_null(option_nearest(names, 3, bytes_text("zzz")));
}

static void
test_shapes_and_strings(void **state)
{
	static const uint8_t two[] = "\x02\0\0\0ab\0\0\0\0";
	int64_t overflowing[] = {INT64_MAX, 2};
	int64_t empty[] = {INT64_MAX, 2, 0};
	struct bytes data = bytes_make(two, 10);
	int64_t elements;
	int64_t found;

	(void)state;
	assert_true(shape_elements(NULL, 0, &elements));
	assert_int_equal(elements, 1);
	assert_false(shape_elements(overflowing, 2, &elements));
	assert_false(shape_elements(empty, 3, &elements));
	assert_false(shape_elements((int64_t[]){-1}, 1, &elements));
	assert_true(tensor_strings_valid(data, 2, &found));
	assert_false(tensor_strings_valid(data, 3, &found));
	assert_int_equal(found, 2);
	for (size_t length = 0; length < 10; length++) {
		if (length != 0 && length != 6) {
			assert_false(tensor_strings_valid(bytes_make(two, length), 1, &found) && length != 6);
		}
	}
	assert_bytes(tensor_next_string(&data), "ab");
	assert_int_equal(tensor_next_string(&data).length, 0);
	assert_int_equal(data.length, 0);
	for (int i = DATATYPE_BOOL; i < DATATYPE_COUNT; i++) {
		assert_int_equal(datatype_from_name(bytes_text(datatype_name((enum datatype)i))), i);
	}
	assert_int_equal(datatype_from_name(bytes_text("STRING")), DATATYPE_INVALID);
}

/* FIPS 180-4's example, in two pieces and in one; digest_end resets the state. */
static void
test_digests(void **state)
{
	char hex[2 * DIGEST_SIZE_MAX + 1];
	struct digest *digest = digest_new();
	struct digest_value value;

	(void)state;
	for (int round = 0; round < 2; round++) {
		digest_add(digest, bytes_text("a"));
		digest_add(digest, bytes_text("bc"));
		digest_end(digest, &value);
		hex_text(bytes_make(value.bytes, value.length), hex);
		assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	}
	assert_true(digest_once(bytes_text("abc"), &value));
	hex_text(bytes_make(value.bytes, value.length), hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	digest_free(digest);
}

static void
test_unknown_options(void **state)
{
	static const struct option one[] = {{.name = "local.size"}, {.name = "redis.host"}};
	static const struct option other[] = {{.name = "ttl"}};
	static const struct option_table tables[] = {{one, 2}, {other, 1}};
	static const struct {
		const char *key;
		const char *meant;
	} cases[] = {
		{"host", "'redis.host'"}, {"redis.ttl", "'ttl'"}, {"local.sise", "'local.size'"}, {"tll", "'ttl'"}};
	struct error error;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(option_unknown("cache 'c'", tables, 2, cases[i].key, &error), STATUS_INVALID_ARGUMENT);
		assert_non_null(strstr(error.text, "cache 'c' has no option"));
		assert_non_null(strstr(error.text, cases[i].meant));
	}
	(void)option_unknown("cache 'c'", tables, 2, "unlike", &error);
	assert_null(strstr(error.text, "did you mean"));
	assert_non_null(strstr(error.text, "it has: local.size, redis.host, ttl"));
}

static void
test_metric_labels(void **state)
{
	struct buf labels;
	struct buf out;

	(void)state;
	buf_init(&labels, 1000);
	buf_init(&out, 1000);
	metric_label(&labels, "model", bytes_text("a\"b\\c\nd"));
	metric_label(&labels, "version", bytes_text("1"));
	metric_sample(&out, "m", buf_bytes(&labels), 7);
	assert_bytes(buf_bytes(&out), "m{model=\"a\\\"b\\\\c\\nd\",version=\"1\"} 7\n");
	buf_fini(&labels);
	buf_fini(&out);
}

static void
test_files(void **state)
{
	char folder[] = "/tmp/hippocamp-file-XXXXXX";
	char path[64];
	char read[16] = {0};
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/a", folder);
	assert_true(file_write(path, bytes_text("longer"), true));
	assert_true(file_write(path, bytes_text("short"), false));
	assert_false(file_write(path, bytes_text("other"), true));
	assert_int_equal(errno, EEXIST);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fread(read, 1, sizeof(read), file), 5);
	assert_string_equal(read, "short");
	(void)fclose(file);
	assert_int_equal(unlink(path), 0);
	assert_false(file_write(folder, bytes_text("x"), false));
	assert_int_equal(errno, EISDIR);
	assert_int_equal(rmdir(folder), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_is_bounded),
		cmocka_unit_test(test_buf_numbers_and_json),
		cmocka_unit_test(test_small_numbers),
		cmocka_unit_test(test_arena),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_shapes_and_strings),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_unknown_options),
		cmocka_unit_test(test_metric_labels),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
