/* The local store from opening to closing: what it does with its shards, and beside the loop. */
#include "caches/local/local.h"

#include "base/unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 5000 /* freed beside the loop where they are purged together */

static struct cache_work *offloaded;

static void
offload(void *context, struct cache_work *work, size_t size)
{
	(void)context;
	assert_true(size > 0);
	assert_null(offloaded);
	offloaded = work;
}

static const struct cache_ops *ops = &cache_local_ops;
static struct cache_host host;
static struct cache *cache;
static struct cache_lane *lane;

static int
setup(void **state)
{
	void *settings = calloc(1, ops->settings_size);
	struct error error;

	(void)state;
	option_presets(*ops->options, settings);
	assert_int_equal(option_set(option_find(*ops->options, bytes_text("size")), settings, "64MiB", &error),
			 STATUS_OK);
	offloaded = NULL;
	host = (struct cache_host){.offload = offload};
	cache = ops->open(settings, false, &error);
	lane = ops->attach(cache, &host);
	return cache == NULL || lane == NULL;
}

static int
teardown(void **state)
{
	(void)state;
	ops->detach(lane);
	ops->close(cache);
	return 0;
}

static struct cache_key
key_of(uint32_t number)
{
	struct cache_key key = {.digest = {.length = 16}, .scope = bytes_text("model:1:00000000")};
	uint64_t mixed = checksum64(bytes_make(&number, sizeof(number)));

	memcpy(key.digest.bytes, &mixed, sizeof(mixed));
	memcpy(key.digest.bytes + 8, &mixed, sizeof(mixed));
	return key;
}

static void
put(uint32_t number)
{
	struct cache_key key = key_of(number);
	struct blob *value = blob_copy(bytes_make(&number, sizeof(number)));
	struct cache_insert insert = {.key = &key, .value = value};

	assert_true(ops->insert(lane, &insert));
	blob_unref(value);
}

static bool
has(uint32_t number)
{
	struct cache_key key = key_of(number);
	struct blob *value = NULL;
	struct cache_lookup lookup = {.keys = &key, .count = 1, .values = &value};
	bool found;

	assert_true(ops->lookup(lane, &lookup));
	found = value != NULL && memcmp(value->data, &number, sizeof(number)) == 0;
	blob_unref(value);
	return found;
}

static uint64_t
purge(const char *model)
{
	struct cache_purge request = {.model = bytes_text(model)};

	assert_true(ops->purge(lane, &request));
	assert_false(request.failed);
	return request.removed;
}

static void
test_large_purges_are_freed_beside_the_loop(void **state)
{
	struct cache_statistics statistics;

	(void)state;
	for (uint32_t i = 0; i < ENTRIES; i++) {
		put(i);
	}
	assert_int_equal(purge("another"), 0);
	assert_null(offloaded);
	assert_int_equal(purge("model"), ENTRIES);
	assert_non_null(offloaded); /* and nothing of it can be found */
	assert_false(has(1));
	ops->statistics(cache, &statistics);
	assert_int_equal(statistics.entries, 0);
	assert_int_equal(statistics.used_bytes, 0);
	offloaded->run(offloaded);
	offloaded->done(offloaded);
}

static void
test_small_purges_are_freed_at_once(void **state)
{
	(void)state;
	put(1);
	assert_int_equal(purge(""), 1);
	assert_null(offloaded);
	host.offload = NULL; /* nobody is there to do it */
	for (uint32_t i = 0; i < ENTRIES; i++) {
		put(i);
	}
	assert_int_equal(purge(""), ENTRIES);
}

static void
test_one_entry_goes(void **state)
{
	struct cache_key key = key_of(1);

	(void)state;
	put(1);
	put(2);
	ops->remove(lane, &key);
	ops->remove(lane, &key); /* nothing is there */
	assert_false(has(1));
	assert_true(has(2));
}

static void
test_it_is_described(void **state)
{
	char text[100];

	(void)state;
	ops->describe(cache, text, sizeof(text));
	assert_string_equal(text, "local, 67108864 bytes in 4 shards");
	assert_in_range(ops->value_max(cache), (16 << 20) * 8 / 10, 16 << 20);
}

int
main(void)
{
#define LOCAL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		LOCAL_TEST(test_large_purges_are_freed_beside_the_loop),
		LOCAL_TEST(test_small_purges_are_freed_at_once),
		LOCAL_TEST(test_one_entry_goes),
		LOCAL_TEST(test_it_is_described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
