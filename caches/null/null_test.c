/* The store that keeps nothing, from opening to closing. A test of a new store begins as a copy of this. */
#include "caches/null/null.h"

#include "base/unit_test.h"

#include <stdlib.h>
#include <string.h>

static const struct cache_host host; /* this store asks nothing of it */

/* Settings as they are where nothing is given; `open` takes them over. option_set(option_find(…)) sets one. */
static void *
presets(const struct cache_ops *ops)
{
	void *settings = calloc(1, ops->settings_size);

	if (ops->options != NULL) {
		option_presets(*ops->options, settings);
	}
	return settings;
}

static void
test_nothing_is_found(void **state)
{
	const struct cache_ops *ops = &cache_null_ops;
	const struct cache_key key = {.digest = {.length = 16}, .scope = bytes_text("model:1:00000000")};
	struct error error;
	struct cache *cache = ops->open(presets(ops), false, &error);
	struct cache_lane *lane = ops->attach(cache, &host);
	struct blob *value = blob_copy(bytes_text("a value"));
	struct blob *found = NULL;
	struct cache_insert insert = {.key = &key, .value = value};
	struct cache_lookup lookup = {.keys = &key, .count = 1, .values = &found};
	struct cache_purge purge = {.removed = 1};
	struct cache_statistics statistics;

	(void)state;
	assert_true(ops->insert(lane, &insert)); /* answered immediately, as are the others */
	assert_true(ops->lookup(lane, &lookup));
	assert_null(found);
	assert_false(lookup.failed);
	assert_true(ops->purge(lane, &purge));
	assert_int_equal(purge.removed, 0);
	ops->statistics(cache, &statistics);
	assert_int_equal(statistics.lookups, 1);
	assert_int_equal(statistics.hits, 0);
	ops->detach(lane);
	ops->close(cache);
	blob_unref(value);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_is_found)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
