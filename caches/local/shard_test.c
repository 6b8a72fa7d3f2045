#include "caches/local/shard.h"

#include "base/clock.h"
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
put_entry(struct shard *shard, uint32_t number, size_t length, struct shard_entry entry, enum cache_insert_mode mode)
{
	struct digest_value digest = digest_of(number);
	struct blob *blob = blob_new(length);

	memset(blob->data, (int)(number & 0xff), length);
	entry.scope = (struct shard_scope){1 + number % 2, 1 + number % 3};
	shard_put(shard, &digest, &entry, blob, mode, clock_now_ns());
	blob_unref(blob);
}

static void
put_if(struct shard *shard, uint32_t number, size_t length, uint64_t expires_ns, enum cache_insert_mode mode)
{
	put_entry(shard, number, length, (struct shard_entry){.expires_ns = expires_ns}, mode);
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
	struct blob *blob = shard_get(shard, &digest, now_ns, CACHE_COUNT_ALL);
	bool found = blob != NULL;

	if (found && blob->length > 0) {
		assert_int_equal(blob->data[0], number & 0xff);
	}
	blob_unref(blob);
	return found;
}

static uint64_t
purge(struct shard *shard, struct shard_scope scope)
{
	struct shard_node *removed = NULL;
	uint64_t count = shard_purge(shard, scope, &removed);

	shard_free_removed(removed);
	return count;
}

/* How many of the numbers from `first` on are there. */
static uint32_t
kept(struct shard *shard, uint32_t first, uint32_t count)
{
	uint32_t found = 0;

	for (uint32_t i = first; i < first + count; i++) {
		found += get(shard, i, 0);
	}
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
		assert_true(shard.used_bytes <= shard.budget);
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

/* A value of the length that is said to fit does, whatever blocks are rounded up to. */
static void
test_longest_value(void **state)
{
	struct shard shard;

	(void)state;
	for (uint64_t budget = 1000; budget < (uint64_t)20 << 20; budget = budget * 5 / 3) {
		size_t longest;

		assert_true(shard_init(&shard, budget));
		longest = shard.value_max;
		assert_true(shard_charge(longest + 1) > budget);
		put(&shard, 1, longest, 0);
		assert_true(get(&shard, 1, 0));
		assert_true(shard.used_bytes <= budget);
		shard_fini(&shard);
	}
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
	assert_int_equal(shard.used_bytes, 0);
	put(&shard, 1, 10, 1000);
	put(&shard, 1, 20, 0);
	assert_int_equal(shard.entries, 1);
	assert_true(get(&shard, 1, 5000));
	put_if(&shard, 1, 10, 4000, CACHE_REPLACE);
	put_if(&shard, 2, 10, 0, CACHE_REPLACE); /* there is none to be replaced */
	assert_int_equal(shard.entries, 1);
	assert_false(get(&shard, 1, 5000));
	put(&shard, 1, 20, 0);
	assert_int_equal(purge(&shard, (struct shard_scope){1, 0}), 0);
	assert_int_equal(purge(&shard, (struct shard_scope){2, 0}), 1);
	assert_false(get(&shard, 1, 0));
	assert_int_equal(shard.used_bytes, 0);
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
	first = shard_get(&shard, &digest, 0, CACHE_COUNT_ALL);
	put_if(&shard, 1, 20, 0, CACHE_KEEP);
	now = shard_get(&shard, &digest, 0, CACHE_COUNT_ALL);
	assert_ptr_equal(now, first);
	assert_int_equal(shard.inserts, 1);
	blob_unref(now);
	blob_unref(first);
	put(&shard, 1, 30, 1); /* over long ago */
	put_if(&shard, 1, 20, 0, CACHE_KEEP);
	now = shard_get(&shard, &digest, 0, CACHE_COUNT_ALL);
	assert_int_equal(now->length, 20);
	blob_unref(now);
	shard_fini(&shard);
}

/* However popular it was, what is asked for no more goes in bounded time: as after a reload, which changes all keys. */
static void
test_counts_are_bounded(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 100 * shard_charge(100)));
	for (uint32_t i = 0; i < 50; i++) {
		put(&shard, i, 100, 0);
		for (uint32_t k = 0; k < 10000; k++) {
			assert_true(get(&shard, i, 0));
		}
	}
	for (uint32_t i = 1000; i < 11000; i++) {
		put(&shard, i, 100, 0);
	}
	assert_int_equal(kept(&shard, 0, 50), 0);
	shard_fini(&shard);
}

/* One insert into a store of which all was asked for holds the lock for some entries' time, not for all. */
static void
test_an_insert_ranks_few_entries_anew(void **state)
{
	struct shard shard;
	uint32_t ranked = 0;

	(void)state;
	assert_true(shard_init(&shard, 5000 * shard_charge(10)));
	for (uint32_t i = 0; i < 5000; i++) {
		put(&shard, i, 10, 0);
	}
	assert_int_equal(kept(&shard, 0, 5000), 5000);
	put(&shard, 5000, 10, 0);
	for (size_t i = 0; i < shard.ranks.count; i++) {
		ranked += shard.ranks.slots[i].rank > shard.inflation;
	}
	assert_int_equal(shard.evictions, 1);
	assert_in_range(ranked, 1, 100);
	shard_fini(&shard);
}

static void
test_what_is_counted(void **state)
{
	struct digest_value known = digest_of(1);
	struct digest_value unknown = digest_of(2);
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 100000));
	put(&shard, 1, 10, 0);
	for (enum cache_count counted = CACHE_COUNT_ALL; counted <= CACHE_COUNT_NOTHING; counted++) {
		blob_unref(shard_get(&shard, &known, 0, counted));
		assert_null(shard_get(&shard, &unknown, 0, counted));
	}
	assert_int_equal(shard.lookups, 2);
	assert_int_equal(shard.hits, 2);
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
	held = shard_get(&shard, &digest, 0, CACHE_COUNT_ALL);
	for (uint32_t i = 100; i < 120; i++) {
		put(&shard, i, 100, 0);
	}
	shard_fini(&shard);
	assert_int_equal(held->data[99], 7);
	blob_unref(held);
}

/* What is asked for again and again stays while a scan of things that are asked for once goes by. */
static void
test_scan_resistance(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 100 * shard_charge(100)));
	for (uint32_t i = 0; i < 50; i++) {
		put(&shard, i, 100, 0);
		assert_true(get(&shard, i, 0));
		assert_true(get(&shard, i, 0));
	}
	for (uint32_t i = 0; i < 10000; i++) {
		put(&shard, 1000 + i, 100, 0);
		if (i % 4 == 0) {
			(void)get(&shard, i / 4 % 50, 0);
		}
	}
	assert_true(kept(&shard, 0, 50) >= 45);
	shard_fini(&shard);
}

/* What cost much to compute stays, though what cost little is asked for more often. */
static void
test_cost_counts(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 100 * shard_charge(100)));
	for (uint32_t i = 0; i < 50; i++) {
		put_entry(&shard, i, 100, (struct shard_entry){.cost_us = 1000000}, CACHE_PUT);
	}
	for (uint32_t i = 1000; i < 11000; i++) {
		put_entry(&shard, i, 100, (struct shard_entry){.cost_us = 100}, CACHE_PUT);
		assert_true(get(&shard, i, 0));
		assert_true(get(&shard, i, 0));
	}
	assert_int_equal(kept(&shard, 0, 50), 50);
	shard_fini(&shard);
}

/* Of equal cost what is small stays. */
static void
test_size_counts(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 100 * shard_charge(1000)));
	for (uint32_t i = 0; i < 50; i++) {
		put_entry(&shard, i, 100, (struct shard_entry){.cost_us = 100}, CACHE_PUT);
	}
	for (uint32_t i = 1000; i < 1200; i++) {
		put_entry(&shard, i, 10000, (struct shard_entry){.cost_us = 100}, CACHE_PUT);
	}
	assert_int_equal(kept(&shard, 0, 50), 50);
	shard_fini(&shard);
}

/* What was dear and popular once makes way in the end for what is asked for now. */
static void
test_old_value_fades(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 100 * shard_charge(100)));
	for (uint32_t i = 0; i < 100; i++) {
		put_entry(&shard, i, 100, (struct shard_entry){.cost_us = 1000}, CACHE_PUT);
		assert_true(get(&shard, i, 0));
	}
	for (uint32_t round = 0; round < 100; round++) {
		for (uint32_t i = 1000; i < 1200; i++) { /* twice as many as there is room for */
			if (!get(&shard, i, 0)) {
				put_entry(&shard, i, 100, (struct shard_entry){.cost_us = 100}, CACHE_PUT);
			}
		}
	}
	assert_int_equal(kept(&shard, 0, 100), 0);
	shard_fini(&shard);
}

/* What comes back soon after it was evicted has its count still, and outlives what comes for the first time. */
static void
test_counts_are_remembered(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 100 * shard_charge(100)));
	put(&shard, 1, 100, 0);
	for (uint32_t i = 0; i < 9; i++) {
		assert_true(get(&shard, 1, 0));
	}
	for (uint32_t i = 1000; i < 1100; i++) { /* each a little dearer than number 1 has become */
		put_entry(&shard, i, 100, (struct shard_entry){.cost_us = 40}, CACHE_PUT);
	}
	assert_int_equal(kept(&shard, 1, 2), 0);
	put(&shard, 1, 100, 0);
	put(&shard, 2, 100, 0);
	for (uint32_t i = 2000; i < 2099; i++) { /* room for one of all that was there */
		put_entry(&shard, i, 100, (struct shard_entry){.cost_us = 200}, CACHE_PUT);
	}
	assert_int_equal(kept(&shard, 1, 1), 1);
	assert_int_equal(kept(&shard, 2, 1), 0);
	shard_fini(&shard);
}

/* What is past its expiry goes first, however much it was worth, and raises no rank. */
static void
test_expired_entries_go(void **state)
{
	struct shard shard;

	(void)state;
	assert_true(shard_init(&shard, 10 * shard_charge(100)));
	put_entry(&shard, 1, 100, (struct shard_entry){.cost_us = 1000000, .expires_ns = 1}, CACHE_PUT);
	for (uint32_t i = 2; i < 12; i++) {
		put_entry(&shard, i, 100, (struct shard_entry){.cost_us = 100}, CACHE_PUT);
	}
	assert_int_equal(kept(&shard, 2, 10), 10);
	assert_true(shard.inflation == 0.0);
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
	shard_remove(&shard, &(struct digest_value){.length = 16});
	assert_true(get(&shard, 6, 0));
	{
		struct digest_value digest = digest_of(6);

		shard_remove(&shard, &digest);
	}
	assert_false(get(&shard, 6, 0));
	put(&shard, 6, 10, 0);
	assert_int_equal(purge(&shard, (struct shard_scope){1, 2}), 100);
	assert_int_equal(purge(&shard, (struct shard_scope){1, 0}), 200);
	assert_true(get(&shard, 1, 0));
	assert_int_equal(purge(&shard, (struct shard_scope){0, 0}), 300);
	assert_int_equal(shard.entries, 0);
	assert_int_equal(shard.used_bytes, 0);
	shard_fini(&shard);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget_holds),
		cmocka_unit_test(test_large_entries),
		cmocka_unit_test(test_longest_value),
		cmocka_unit_test(test_expiry_and_replacement),
		cmocka_unit_test(test_what_is_there_is_kept),
		cmocka_unit_test(test_held_values_survive),
		cmocka_unit_test(test_scan_resistance),
		cmocka_unit_test(test_cost_counts),
		cmocka_unit_test(test_size_counts),
		cmocka_unit_test(test_old_value_fades),
		cmocka_unit_test(test_counts_are_remembered),
		cmocka_unit_test(test_expired_entries_go),
		cmocka_unit_test(test_purge),
		cmocka_unit_test(test_what_is_counted),
		cmocka_unit_test(test_counts_are_bounded),
		cmocka_unit_test(test_an_insert_ranks_few_entries_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
