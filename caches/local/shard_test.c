#include "caches/local/shard.h"

#include "base/unit_test.h"

static struct digest_value
digest_of(uint32_t number)
{
	struct digest_value digest = {.length = 16};
	uint64_t mixed = checksum64(bytes_make(&number, sizeof(number)));

	memcpy(digest.bytes, &number, sizeof(number));
	memcpy(digest.bytes + 8, &mixed, sizeof(mixed));
	return digest;
}

static void
put_if(struct shard *shard, uint32_t number, size_t length, uint64_t expires_ns, enum cache_insert_mode mode)
{
	struct digest_value digest = digest_of(number);
	struct blob *blob = blob_new(length);

	memset(blob->data, (int)(number & 0xff), length);
	shard_put(shard, &digest, (struct shard_scope){1 + number % 2, 1 + number % 3}, blob, expires_ns, mode);
	blob_unref(blob);
}

static void
put(struct shard *shard, uint32_t number, size_t length, uint64_t expires_ns)
{
	put_if(shard, number, length, expires_ns, CACHE_PUT);
}

static bool
get(struct shard *shard, uint32_t number, uint64_t now_ns)
{
	struct digest_value digest = digest_of(number);
	struct blob *blob = shard_get(shard, &digest, now_ns, true, true);
	bool found = blob != NULL;

	if (found && blob->length > 0) {
		assert_int_equal(blob->data[0], number & 0xff);
	}
	blob_unref(blob);
	return found;
}

static void
test_budget_holds(void **state)
{
	uint64_t charge = shard_charge(100);
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 50 * charge));
	for (uint32_t i = 0; i < 5000; i++) {
		put(&shard, i, 100, 0);
		assert_true(shard.small_bytes + shard.main_bytes <= shard.budget);
		assert_true(get(&shard, i, 0));
	}
	assert_int_equal(shard.entries, 50);
	assert_int_equal(shard.evictions, 4950);
	shard_fini(&shard);
}

static void
test_large_entries(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 10000));
	put(&shard, 1, 100, 0);
	put(&shard, 2, 10000, 0); /* larger than all there is: nothing makes way for it */
	assert_true(get(&shard, 1, 0));
	assert_false(get(&shard, 2, 0));
	assert_int_equal(shard.dropped, 1);
	shard_fini(&shard);
}

static void
test_expiry_and_replacement(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 100000));
	put(&shard, 1, 10, 1000);
	assert_true(get(&shard, 1, 999));
	assert_false(get(&shard, 1, 1000));
	assert_int_equal(shard.entries, 0);
	assert_int_equal(shard.small_bytes + shard.main_bytes, 0);
	put(&shard, 1, 10, 1000);
	put(&shard, 1, 20, 0);
	assert_int_equal(shard.entries, 1);
	assert_true(get(&shard, 1, 5000));
	put_if(&shard, 1, 10, 4000, CACHE_REPLACE);
	put_if(&shard, 2, 10, 0, CACHE_REPLACE); /* there is none to be replaced */
	assert_int_equal(shard.entries, 1);
	assert_false(get(&shard, 1, 5000));
	put(&shard, 1, 20, 0);
	assert_int_equal(shard_purge(&shard, (struct shard_scope){1, 0}), 0);
	assert_int_equal(shard_purge(&shard, (struct shard_scope){2, 0}), 1);
	assert_false(get(&shard, 1, 0));
	assert_int_equal(shard.small_bytes + shard.main_bytes, 0);
	shard_fini(&shard);
}

static void
test_what_is_there_is_kept(void **state)
{
	struct digest_value digest = digest_of(1);
	struct shard shard;
	struct blob *first;
	struct blob *now;

	(void)state;
	assert_true(shard_init(&shard, 100000));
	put_if(&shard, 1, 10, 0, CACHE_KEEP);
	first = shard_get(&shard, &digest, 0, true, true);
	put_if(&shard, 1, 20, 0, CACHE_KEEP);
	now = shard_get(&shard, &digest, 0, true, true);
	assert_ptr_equal(now, first);
	assert_int_equal(shard.inserts, 1);
	blob_unref(now);
	blob_unref(first);
	put(&shard, 1, 30, 1); /* over long ago */
	put_if(&shard, 1, 20, 0, CACHE_KEEP);
	now = shard_get(&shard, &digest, 0, true, true);
	assert_int_equal(now->length, 20);
	blob_unref(now);
	shard_fini(&shard);
}

/* A value that a reader holds outlives its eviction. */
static void
test_held_values_survive(void **state)
{
	struct digest_value digest = digest_of(7);
	struct shard shard;
	struct blob *held;

	(void)state;
	assert_true(shard_init(&shard, 3 * shard_charge(100)));
	put(&shard, 7, 100, 0);
	held = shard_get(&shard, &digest, 0, true, true);
	for (uint32_t i = 100; i < 120; i++) {
		put(&shard, i, 100, 0);
	}
	shard_fini(&shard);
	assert_int_equal(held->data[99], 7);
	blob_unref(held);
}

/* What is asked for again and again stays while a scan of things asked for once goes by. */
static void
test_scan_resistance(void **state)
{
	struct shard shard;
	uint32_t kept = 0;

	(void)state;
	assert_true(shard_init(&shard, 100 * shard_charge(100)));
	for (uint32_t i = 0; i < 50; i++) {
		put(&shard, i, 100, 0);
		assert_true(get(&shard, i, 0));
		assert_true(get(&shard, i, 0));
	}
	for (uint32_t i = 1000; i < 11000; i++) {
		put(&shard, i, 100, 0);
	}
	for (uint32_t i = 0; i < 50; i++) {
		kept += get(&shard, i, 0);
	}
	assert_true(kept >= 45);
	shard_fini(&shard);
}

static void
test_purge(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 1000 * shard_charge(10)));
	for (uint32_t i = 0; i < 600; i++) {
		put(&shard, i, 10, 0);
	}
	assert_int_equal(shard_purge(&shard, (struct shard_scope){1, 2}), 100);
	assert_int_equal(shard_purge(&shard, (struct shard_scope){1, 0}), 200);
	assert_true(get(&shard, 1, 0));
	assert_int_equal(shard_purge(&shard, (struct shard_scope){0, 0}), 300);
	assert_int_equal(shard.entries, 0);
	assert_int_equal(shard.small_bytes + shard.main_bytes, 0);
	shard_fini(&shard);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget_holds),	       cmocka_unit_test(test_large_entries),
		cmocka_unit_test(test_expiry_and_replacement), cmocka_unit_test(test_held_values_survive),
		cmocka_unit_test(test_scan_resistance),	       cmocka_unit_test(test_purge),
		cmocka_unit_test(test_what_is_there_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
