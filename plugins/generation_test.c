#include "plugins/generation.h"

#include "base/unit_test.h"
#include "plugins/triton.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "5083107807961747211"

static char file[] = "/tmp/generation.XXXXXX";
static unsigned lines;
static char last_line[2048];

static TRITONSERVER_Error *
log_message(TRITONSERVER_LogLevel level, const char *place, int line, const char *message)
{
	(void)level;
	(void)place;
	(void)line;
	(void)snprintf(last_line, sizeof(last_line), "%s", message);
	lines++;
	return NULL;
}

static void
write_file(const char *text)
{
	FILE *open = fopen(file, "w");

	assert_non_null(open);
	assert_true(fputs(text, open) >= 0);
	assert_int_equal(fclose(open), 0);
}

/* A new text is taken when it was read twice. */
static void
refresh(struct generation *generation)
{
	generation_refresh(generation);
	generation_refresh(generation);
}

static struct generation_key
key_of(struct generation *generation)
{
	struct generation_key key;

	generation_make_key(generation, KEY, &key);
	return key;
}

static bool
may_store(struct generation *generation)
{
	struct generation_key key;

	return generation_answered(generation, KEY, &key);
}

static void
test_keys(void **state)
{
	static const struct {
		const char *name_space;
		const char *text;
		const char *scope;
	} cases[] = {
		{"", NULL, "triton:2:"},
		{"shop", NULL, "triton.shop:2:"},
		{"", "v7", "triton:2:"},
		{"shop", "v7", "triton.shop:2:"},
		{"shopv", "7", "triton.shopv:2:"}, /* the same letters in a row */
		{"a:b c", "2026/11 x", "triton.a_b_c:2:"},
	};
	struct generation_key keys[6];

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		struct error error;
		struct generation *generation =
			generation_open(cases[i].name_space, (struct bytes){0}, cases[i].text, NULL, &error);

		assert_non_null(generation);
		keys[i] = key_of(generation);
		assert_int_equal(keys[i].key.digest.length, 16);
		assert_memory_equal(keys[i].scope_text, cases[i].scope, strlen(cases[i].scope));
		assert_int_equal(keys[i].key.scope.length, strlen(cases[i].scope) + 8);
		assert_true(may_store(generation)); /* it never changes, so an answer needs no miss before it */
		generation_close(generation);
		for (size_t k = 0; k < i; k++) {
			assert_memory_not_equal(keys[i].key.digest.bytes, keys[k].key.digest.bytes, 16);
		}
	}
}

static void
test_another_secret_makes_other_keys(void **state)
{
	static const uint8_t secrets[2][GENERATION_SECRET] = {{1}, {2}};
	struct generation_key keys[3];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct bytes secret = i == 2 ? bytes_make(NULL, 0) : bytes_make(secrets[i], GENERATION_SECRET);
		struct error error;
		struct generation *generation = generation_open("", secret, NULL, NULL, &error);

		assert_non_null(generation);
		keys[i] = key_of(generation);
		generation_close(generation);
		for (size_t k = 0; k < i; k++) {
			assert_memory_not_equal(keys[i].key.digest.bytes, keys[k].key.digest.bytes, 16);
			assert_string_not_equal(keys[i].scope_text, keys[k].scope_text);
		}
	}
}

static void
test_a_file_that_changes(void **state)
{
	struct error error;
	struct generation *generation;
	struct generation_key first;
	struct generation_key second;

	(void)state;
	write_file("one\n");
	generation = generation_open("", (struct bytes){0}, NULL, file, &error);
	assert_non_null(generation);
	first = key_of(generation);
	refresh(generation);
	assert_memory_equal(first.key.digest.bytes, key_of(generation).key.digest.bytes, 16);
	write_file("two");
	generation_refresh(generation); /* this text may be half-written */
	write_file("two two\n");
	generation_refresh(generation);
	assert_memory_equal(first.key.digest.bytes, key_of(generation).key.digest.bytes, 16);
	generation_refresh(generation);
	second = key_of(generation);
	assert_memory_not_equal(first.key.digest.bytes, second.key.digest.bytes, 16);
	assert_non_null(strstr(last_line, "two_two"));
	generation_close(generation);
}

/* An answer to a look-up before the change is not stored after it. */
static void
test_answers_of_old_models(void **state)
{
	struct error error;
	struct generation *generation;
	struct generation_key key;

	(void)state;
	write_file("1");
	generation = generation_open("", (struct bytes){0}, NULL, file, &error);
	key = key_of(generation);
	generation_missed(generation, &key);
	assert_true(may_store(generation));
	generation_missed(generation, &key);
	write_file("22");
	refresh(generation);
	key = key_of(generation);
	generation_missed(generation, &key); /* the same key, for the new model, before the old answer has come */
	assert_false(may_store(generation)); /* it may be either answer */
	assert_false(may_store(generation));
	generation_missed(generation, &key);
	assert_true(may_store(generation)); /* no other request was under way */
	generation_close(generation);
}

/* The whole of a long file counts. */
static void
test_a_long_file(void **state)
{
	struct error error;
	struct generation *generation;
	struct generation_key before;
	char *text = calloc(1, (2U << 20) + 1);

	(void)state;
	memset(text, 'x', 100000);
	write_file(text);
	generation = generation_open("", (struct bytes){0}, NULL, file, &error);
	assert_non_null(generation);
	before = key_of(generation);
	text[99999] = 'y';
	write_file(text);
	refresh(generation);
	assert_memory_not_equal(before.key.digest.bytes, key_of(generation).key.digest.bytes, 16);
	generation_close(generation);
	memset(text, 'x', 2U << 20);
	write_file(text);
	assert_null(generation_open("", (struct bytes){0}, NULL, file, &error));
	assert_non_null(strstr(error.text, "longer"));
	free(text);
}

/* The generation changes between a look-up and generation_missed. */
static void
test_a_change_in_between(void **state)
{
	struct error error;
	struct generation *generation;
	struct generation_key key;

	(void)state;
	write_file("1");
	generation = generation_open("", (struct bytes){0}, NULL, file, &error);
	key = key_of(generation);
	write_file("22");
	refresh(generation);
	generation_missed(generation, &key);
	assert_false(may_store(generation));
	generation_close(generation);
}

static void
test_files_that_are_no_good(void **state)
{
	struct error error;
	struct generation *generation;
	struct generation_key before;
	char fifo[sizeof(file) + 8];

	(void)state;
	(void)snprintf(fifo, sizeof(fifo), "%s.fifo", file);
	assert_null(generation_open("", (struct bytes){0}, NULL, "/tmp", &error));
	assert_non_null(strstr(error.text, "not a file"));
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_null(
		generation_open("", (struct bytes){0}, NULL, fifo, &error)); /* without waiting for a writer to open */
	assert_int_equal(unlink(fifo), 0);
	assert_null(generation_open("", (struct bytes){0}, NULL, "/nowhere/at/all", &error));
	assert_non_null(strstr(error.text, "/nowhere/at/all"));
	write_file("\n");
	assert_null(generation_open("", (struct bytes){0}, NULL, file, &error));
	assert_non_null(strstr(error.text, "empty"));
	write_file("one");
	generation = generation_open("", (struct bytes){0}, NULL, file, &error);
	before = key_of(generation);
	assert_int_equal(unlink(file), 0);
	lines = 0;
	refresh(generation);
	refresh(generation);
	assert_int_equal(lines, 1);
	assert_memory_equal(before.key.digest.bytes, key_of(generation).key.digest.bytes, 16);
	write_file("three");
	refresh(generation);
	assert_memory_not_equal(before.key.digest.bytes, key_of(generation).key.digest.bytes, 16);
	generation_close(generation);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_another_secret_makes_other_keys),
		cmocka_unit_test(test_a_file_that_changes),
		cmocka_unit_test(test_answers_of_old_models),
		cmocka_unit_test(test_a_long_file),
		cmocka_unit_test(test_a_change_in_between),
		cmocka_unit_test(test_files_that_are_no_good),
	};
	int descriptor = mkstemp(file);
	int failed;

	if (descriptor < 0) {
		return 1;
	}
	(void)close(descriptor);
	triton.TRITONSERVER_LogMessage = log_message;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)unlink(file);
	return failed;
}
