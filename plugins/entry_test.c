#include "plugins/entry.h"

#include "base/unit_test.h"

static struct digest_value
digest_of(uint8_t number)
{
	return (struct digest_value){.bytes = {number}, .length = PLUGIN_ENTRY_DIGEST};
}

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
	plugin_entry_seal(entry, &digest, now_ms, lifetime_ms);
	return entry;
}

static enum plugin_entry_verdict
verdict_of(const struct blob *entry, uint8_t number, uint64_t now_ms)
{
	struct digest_value digest = digest_of(number);

	return plugin_entry_check(entry, &digest, now_ms, NULL);
}

static void
test_good(void **state)
{
	struct digest_value digest = digest_of(1);
	struct blob *entry = sealed(1000, 500);
	uint64_t remaining_ms = 0;

	(void)state;
	assert_int_equal(plugin_entry_check(entry, &digest, 1200, &remaining_ms), PLUGIN_ENTRY_GOOD);
	assert_int_equal(remaining_ms, 300);
	assert_int_equal(plugin_entry_response(entry).length, entry->length - PLUGIN_ENTRY_HEADER);
	assert_int_equal(verdict_of(entry, 2, 1200), PLUGIN_ENTRY_MISPLACED);
	assert_int_equal(verdict_of(entry, 1, 1500), PLUGIN_ENTRY_EXPIRED);
	blob_unref(entry);
	entry = sealed(1000, 0);
	assert_int_equal(plugin_entry_check(entry, &digest, UINT64_MAX, &remaining_ms), PLUGIN_ENTRY_GOOD);
	assert_int_equal(remaining_ms, 0);
	blob_unref(entry);
}

static void
test_every_bit_counts(void **state)
{
	struct blob *entry = sealed(1000, 0);

	(void)state;
	for (size_t bit = 0; bit < entry->length * 8; bit++) {
		bool reserved = bit / 8 == 6 || bit / 8 == 7; /* before the checksum, and never read */

		entry->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(verdict_of(entry, 1, 2000), reserved ? PLUGIN_ENTRY_GOOD : PLUGIN_ENTRY_CORRUPT);
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

/* Whole, and sealed by somebody who means no good. */
static void
test_response_is_walked(void **state)
{
	struct digest_value digest = digest_of(1);
	struct blob *entry = sealed(1000, 0);

	(void)state;
	entry->data[PLUGIN_ENTRY_HEADER] = 2; /* outputs */
	plugin_entry_seal(entry, &digest, 1000, 0);
	assert_int_equal(verdict_of(entry, 1, 2000), PLUGIN_ENTRY_CORRUPT);
	entry->data[PLUGIN_ENTRY_HEADER] = 0;
	entry->length = PLUGIN_ENTRY_HEADER + 4; /* an error, as Triton packs it */
	plugin_entry_seal(entry, &digest, 1000, 0);
	assert_int_equal(verdict_of(entry, 1, 2000), PLUGIN_ENTRY_CORRUPT);
	blob_unref(entry);
	assert_null(plugin_entry_new(SIZE_MAX));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_response_is_walked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
