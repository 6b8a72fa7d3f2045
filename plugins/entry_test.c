#include "plugins/entry.h"

#include "base/unit_test.h"

static struct digest_value
digest_of(uint8_t number)
{
	return (struct digest_value){.bytes = {number}, .length = PLUGIN_ENTRY_DIGEST};
}

static struct keyed_hash_key secret;
static const struct keyed_hash_key *key; /* NULL: no secret */

/* One output of INT8[3]. */
static struct blob *
sealed(uint64_t now_ms, uint64_t lifetime_ms)
{
	struct digest_value digest = digest_of(1);
	uint8_t packed[] = {1,	 0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'Y', 4, 0, 0, 0, 'I', 'N', 'T',
			    '8', 8, 0, 0, 0,  3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0,   0, 0, 0, 0, 7,   8,	  9};
	struct blob *entry = plugin_entry_new(sizeof(packed));

	packed[4] = (uint8_t)(sizeof(packed) - 12);
	memcpy(entry->data + PLUGIN_ENTRY_HEADER, packed, sizeof(packed));
	assert_true(plugin_entry_seal(entry, key, &digest, now_ms, lifetime_ms));
	return entry;
}

static enum plugin_entry_verdict
verdict_of(const struct blob *entry, uint8_t number, uint64_t now_ms)
{
	struct digest_value digest = digest_of(number);

	return plugin_entry_check(entry, key, &digest, now_ms, NULL);
}

static void
test_good(void **state)
{
	struct digest_value digest = digest_of(1);
	struct blob *entry = sealed(1000, 500);
	uint64_t remaining_ms = 0;

	(void)state;
	assert_int_equal(plugin_entry_check(entry, key, &digest, 1200, &remaining_ms), PLUGIN_ENTRY_GOOD);
	assert_int_equal(remaining_ms, 300);
	assert_int_equal(plugin_entry_response(entry).length, entry->length - PLUGIN_ENTRY_HEADER);
	assert_int_equal(verdict_of(entry, 2, 1200), PLUGIN_ENTRY_MISPLACED);
	assert_int_equal(verdict_of(entry, 1, 1500), PLUGIN_ENTRY_EXPIRED);
	blob_unref(entry);
	entry = sealed(1000, 0);
	assert_int_equal(plugin_entry_check(entry, key, &digest, UINT64_MAX, &remaining_ms), PLUGIN_ENTRY_GOOD);
	assert_int_equal(remaining_ms, 0);
	blob_unref(entry);
}

static void
test_every_bit_counts(void **state)
{
	struct blob *entry = sealed(1000, 0);

	(void)state;
	for (size_t bit = 0; bit < entry->length * 8; bit++) {
		bool reserved = bit / 8 == 6 || bit / 8 == 7; /* before the seal, and never read */
		enum plugin_entry_verdict verdict;

		entry->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		verdict = verdict_of(entry, 1, 2000);
		assert_int_equal(verdict == PLUGIN_ENTRY_GOOD, reserved);
		assert_true(reserved || verdict == PLUGIN_ENTRY_CORRUPT ||
			    (key != NULL && verdict == PLUGIN_ENTRY_WRONG_MAC));
		entry->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	blob_unref(entry);
}

static void
test_every_cut(void **state)
{
	struct blob *whole = sealed(1000, 0);

	(void)state;
	for (size_t length = 0; length < whole->length; length++) {
		struct blob *cut = blob_copy(bytes_make(whole->data, length));

		assert_int_equal(verdict_of(cut, 1, 2000), PLUGIN_ENTRY_CORRUPT);
		blob_unref(cut);
	}
	blob_unref(whole);
}

/* Intact and correctly sealed, but the response is malformed. */
static void
test_response_is_walked(void **state)
{
	struct digest_value digest = digest_of(1);
	struct blob *entry = sealed(1000, 0);

	(void)state;
	entry->data[PLUGIN_ENTRY_HEADER] = 2; /* outputs */
	assert_true(plugin_entry_seal(entry, key, &digest, 1000, 0));
	assert_int_equal(verdict_of(entry, 1, 2000), PLUGIN_ENTRY_CORRUPT);
	entry->data[PLUGIN_ENTRY_HEADER] = 0;
	entry->length = PLUGIN_ENTRY_HEADER + 4; /* an error, as Triton packs it */
	assert_true(plugin_entry_seal(entry, key, &digest, 1000, 0));
	assert_int_equal(verdict_of(entry, 1, 2000), PLUGIN_ENTRY_CORRUPT);
	blob_unref(entry);
	assert_null(plugin_entry_new(SIZE_MAX));
}

/* An entry that is made with another secret, or with none, is rejected. */
static void
test_secret(void **state)
{
	struct keyed_hash_key other = {{1}};
	struct blob *entry;

	(void)state;
	key = NULL;
	entry = sealed(1000, 0);
	key = &secret;
	assert_int_equal(verdict_of(entry, 1, 2000), PLUGIN_ENTRY_WRONG_MAC);
	blob_unref(entry);
	key = &other;
	entry = sealed(1000, 0);
	key = &secret;
	assert_int_equal(verdict_of(entry, 1, 2000), PLUGIN_ENTRY_WRONG_MAC);
	blob_unref(entry);
	test_good(state);
	test_every_bit_counts(state);
	test_every_cut(state);
	test_response_is_walked(state);
	key = NULL;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	  cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_every_cut), cmocka_unit_test(test_response_is_walked),
		cmocka_unit_test(test_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
