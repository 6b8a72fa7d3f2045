#include "inference/cache/entry.h"

#include "base/unit_test.h"

static const int64_t shape_a[] = {2, 3};
static const int64_t shape_s[] = {2};
static const struct digest_value key = {.bytes = {1, 2, 3}, .length = 16};
static const struct digest_value other_key = {.bytes = {1, 2, 4}, .length = 16};

static struct keyed_hash *mac; /* of the deployment */
static struct keyed_hash *other_mac;

static struct blob *
make_entry(void)
{
	struct entry_shape shapes[] = {
		{bytes_text("A"), DATATYPE_FP32, 2, shape_a, 24, {0}},
		{bytes_text("scalar"), DATATYPE_INT64, 0, NULL, 8, bytes_text("np")},
		{bytes_text("strings"), DATATYPE_BYTES, 1, shape_s, 10, bytes_text("str")},
	};
	uint8_t *data[3];
	struct blob *entry = entry_new(shapes, 3, data);

	assert_non_null(entry);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal((uintptr_t)data[i] % 16, 0);
	}
	memset(data[0], 'f', 24);
	memset(data[1], 'i', 8);
	memcpy(data[2], "\2\0\0\0ab\0\0\0\0", 10);
	entry_seal(entry, &key,
		   &(struct freshness_entry){.created_ms = 1700000000000, .lifetime_ms = 5000, .cost_us = 1234});
	assert_true(entry_authenticate(entry, mac));
	return entry;
}

static void
test_round_trip(void **state)
{
	struct blob *entry = make_entry();
	struct tensor tensor;

	(void)state;
	assert_int_equal(entry_check(blob_bytes(entry), mac), ENTRY_GOOD);
	assert_int_equal(entry_check(blob_bytes(entry), other_mac), ENTRY_WRONG_MAC);
	assert_true(entry_answers(entry, &key));
	assert_false(entry_answers(entry, &other_key));
	assert_int_equal(entry_output_count(entry), 3);
	assert_int_equal(entry_freshness(entry).created_ms, 1700000000000);
	assert_int_equal(entry_freshness(entry).lifetime_ms, 5000);
	assert_int_equal(entry_freshness(entry).cost_us, 1234);
	tensor = entry_output(entry, 0);
	assert_bytes(tensor.name, "A");
	assert_int_equal(tensor.rank, 2);
	assert_int_equal(tensor.shape[1], 3);
	assert_bytes(tensor.data, "ffffffffffffffffffffffff");
	assert_int_equal(tensor.content_type.length, 0);
	tensor = entry_output(entry, 1);
	assert_int_equal(tensor.rank, 0);
	assert_bytes(tensor.data, "iiiiiiii");
	assert_bytes(tensor.content_type, "np");
	tensor = entry_output(entry, 2);
	assert_bytes(tensor_next_string(&tensor.data), "ab");
	blob_unref(entry);
}

/* No flipped bit and no missing or added byte may go unnoticed. */
static void
test_damage_is_noticed(void **state)
{
	struct blob *entry = make_entry();
	struct blob *longer = blob_new(entry->length + 1);

	(void)state;
	for (size_t length = 0; length < entry->length; length++) {
		assert_int_equal(entry_check(bytes_make(entry->data, length), mac), ENTRY_UNKNOWN);
	}
	memcpy(longer->data, entry->data, entry->length);
	longer->data[entry->length] = 0;
	assert_int_equal(entry_check(blob_bytes(longer), mac), ENTRY_UNKNOWN);
	for (size_t i = 0; i < entry->length * 8; i++) {
		entry->data[i / 8] ^= (uint8_t)(1U << i % 8);
		assert_int_not_equal(entry_check(blob_bytes(entry), mac), ENTRY_GOOD);
		entry->data[i / 8] ^= (uint8_t)(1U << i % 8);
	}
	assert_int_equal(entry_check(blob_bytes(entry), mac), ENTRY_GOOD);
	blob_unref(longer);
	blob_unref(entry);
}

/* An entry with a valid MAC may still be malformed: each wrong field must be rejected, or be safe to read. */
static void
test_lies_are_noticed(void **state)
{
	struct blob *good = make_entry();

	(void)state;
	for (size_t i = 24; i < 96 + 3 * 32; i++) {
		for (int change = 0; change < 4; change++) {
			struct blob *entry = blob_copy(blob_bytes(good));

			entry->data[i] = (uint8_t)(change == 0	 ? 0xff
						   : change == 1 ? 0x80
						   : change == 2 ? entry->data[i] + 1
								 : entry->data[i] - 1);
			struct freshness_entry freshness = entry_freshness(entry);

			entry_seal(entry, NULL, &freshness);
			assert_true(entry_authenticate(entry, mac));
			if (entry_check(blob_bytes(entry), mac) == ENTRY_GOOD) { /* then reading it all must be safe */
				for (size_t k = 0; k < entry_output_count(entry); k++) {
					struct tensor tensor = entry_output(entry, k);

					(void)checksum64(tensor.data);
					(void)checksum64(tensor.name);
				}
			}
			blob_unref(entry);
		}
	}
	blob_unref(good);
}

static void
test_sizes_that_overflow(void **state)
{
	struct entry_shape shapes[] = {
		{bytes_text("A"), DATATYPE_UINT8, 1, shape_s, SIZE_MAX - 100, {0}},
		{bytes_text("B"), DATATYPE_UINT8, 1, shape_s, SIZE_MAX - 100, {0}},
	};
	uint8_t *data[2];

	(void)state;
	assert_null(entry_new(shapes, 2, data));
	assert_null(entry_new(shapes, 1, data));
}

static int
make_keys(void **state)
{
	struct keyed_hash_key one;
	struct keyed_hash_key two;

	(void)state;
	keyed_hash_derive(&one, bytes_text("secret"), "entry");
	keyed_hash_derive(&two, bytes_text("another"), "entry");
	mac = keyed_hash_new(KEYED_HASH_GHASH, &one);
	other_mac = keyed_hash_new(KEYED_HASH_GHASH, &two);
	return mac == NULL || other_mac == NULL;
}

static int
free_keys(void **state)
{
	(void)state;
	keyed_hash_free(mac);
	keyed_hash_free(other_mac);
	return 0;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_damage_is_noticed),
		cmocka_unit_test(test_lies_are_noticed),
		cmocka_unit_test(test_sizes_that_overflow),
	};

	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
