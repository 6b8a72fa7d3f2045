#include "caches/tiered/tiered.h"

#include "base/unit_test.h"
#include "caches/local/local.h"

#include <stdio.h>
#include <stdlib.h>

#define SCOPE "model:1:01234567"
#define KEPT 64

/* --- The store behind: a fake that answers when the test says so --- */

struct shared_settings {
	char *place;
	int64_t port;
};

static const struct option shared_options[] = {
	{.name = "place", .kind = OPTION_TEXT, .offset = offsetof(struct shared_settings, place), .secret = true},
	{.name = "port",
	 .kind = OPTION_INTEGER,
	 .offset = offsetof(struct shared_settings, port),
	 .preset = "7",
	 .maximum = 100},
};

static const struct option_table shared_table = {shared_options, 2};

struct shared_cache {
	struct shared_settings *settings;
	uint64_t hits;
};

struct shared_lane {
	struct shared_cache *cache;
	const struct cache_host *host;
};

static struct shared_cache *
cache_of(struct cache *cache)
{
	return (struct shared_cache *)cache;
}

static struct shared_lane *
lane_of(struct cache_lane *lane)
{
	return (struct shared_lane *)lane;
}

static struct {
	struct shared_lane *lane;
	struct digest_value digests[KEPT];
	struct blob *values[KEPT];
	size_t count;
	struct cache_lookup *asked;
	struct cache_purge *purging;
	size_t removed;
	size_t leased;
	size_t released;
	bool down;
} shared;

static struct cache *
shared_open(void *given, bool secret_wanted, struct error *error)
{
	struct shared_settings *settings = given;
	struct shared_cache *cache = calloc(1, sizeof(*cache));

	(void)secret_wanted;
	if (settings->place == NULL) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "cache 'shared' needs a place");
		free(settings);
		free(cache);
		return NULL;
	}
	cache->settings = settings;
	return (struct cache *)cache;
}

static void
shared_close(struct cache *base)
{
	struct shared_cache *cache = cache_of(base);

	option_fini(shared_table, cache->settings);
	free(cache->settings);
	free(cache);
}

static struct cache_lane *
shared_attach(struct cache *base, const struct cache_host *host)
{
	struct shared_cache *cache = cache_of(base);

	shared.lane = calloc(1, sizeof(*shared.lane));
	shared.lane->cache = cache;
	shared.lane->host = host;
	return (struct cache_lane *)shared.lane;
}

static void
forget_all(void)
{
	while (shared.count > 0) {
		blob_unref(shared.values[--shared.count]);
	}
}

static void
shared_detach(struct cache_lane *base)
{
	struct shared_lane *lane = lane_of(base);

	forget_all();
	free(lane);
}

static bool
shared_lookup(struct cache_lane *base, struct cache_lookup *lookup)
{
	struct shared_lane *lane = lane_of(base);

	(void)lane;
	shared.asked = lookup;
	lookup->failed = shared.down;
	return shared.down;
}

/* Fills in the values that are stored now; does not call `done`. */
static void
find_values(void)
{
	struct cache_lookup *lookup = shared.asked;

	for (size_t i = 0; i < lookup->count; i++) {
		for (size_t k = 0; k < shared.count; k++) {
			if (memcmp(&lookup->keys[i].digest, &shared.digests[k], sizeof(struct digest_value)) == 0) {
				lookup->values[i] = blob_ref(shared.values[k]);
				shared.lane->cache->hits++;
			}
		}
	}
}

static bool
shared_insert(struct cache_lane *base, struct cache_insert *insert)
{
	struct shared_lane *lane = lane_of(base);

	(void)lane;
	if (!shared.down) {
		shared.digests[shared.count] = insert->key->digest;
		shared.values[shared.count++] = blob_ref(insert->value);
	}
	return true;
}

static bool
shared_purge(struct cache_lane *base, struct cache_purge *purge)
{
	struct shared_lane *lane = lane_of(base);

	(void)lane;
	shared.purging = purge;
	purge->failed = shared.down;
	return shared.down;
}

static void
end_purge(void)
{
	shared.purging->removed = shared.count;
	forget_all();
	shared.purging->done(shared.purging);
}

static void
shared_remove(struct cache_lane *base, const struct cache_key *key)
{
	(void)base;
	(void)key;
	shared.removed++;
}

static bool
shared_lease(struct cache_lane *base, struct cache_lease *lease)
{
	(void)base;
	lease->result = CACHE_LEASE_HELD;
	shared.leased++;
	return true;
}

static void
shared_release(struct cache_lane *base, const struct cache_key *key)
{
	(void)base;
	(void)key;
	shared.released++;
}

static void
shared_reset_connections(struct cache_lane *base)
{
	struct shared_lane *lane = lane_of(base);

	(void)lane;
}

static void
shared_statistics(struct cache *base, struct cache_statistics *statistics)
{
	struct shared_cache *cache = cache_of(base);

	*statistics = (struct cache_statistics){.hits = cache->hits, .inserts = 5, .connections = 3};
}

static void
shared_describe(struct cache *base, char *text, size_t size)
{
	struct shared_cache *cache = cache_of(base);

	(void)snprintf(text, size, "shared at %lld", (long long)cache->settings->port);
}

static const struct cache_ops shared_ops = {
	.name = "shared",
	.untrusted = true,
	.default_ttl_s = 77,
	.options = &shared_table,
	.settings_size = sizeof(struct shared_settings),
	.open = shared_open,
	.close = shared_close,
	.attach = shared_attach,
	.detach = shared_detach,
	.lookup = shared_lookup,
	.insert = shared_insert,
	.remove = shared_remove,
	.purge = shared_purge,
	.lease = shared_lease,
	.release = shared_release,
	.reset_connections = shared_reset_connections,
	.statistics = shared_statistics,
	.describe = shared_describe,
};

/* --- The tiered store --- */

static const struct cache_ops *ops;

struct tiers {
	struct cache *cache;
	struct cache_lane *lane;
	struct cache_host host;
	size_t purged;
};

static void
set(void *settings, const char *name, const char *value)
{
	const struct option *option = option_find(*ops->options, bytes_text(name));
	struct error error;

	assert_non_null(option);
	assert_int_equal(option_set(option, settings, value, &error), STATUS_OK);
}

static void
on_purged_elsewhere(void *listener, struct bytes model, struct bytes version, uint64_t at_ms)
{
	assert_int_equal(at_ms, 1234);
	assert_bytes(model, "model");
	assert_int_equal(version.length, 0);
	((struct tiers *)listener)->purged++;
}

static int
setup(void **state)
{
	struct tiers *tiers = calloc(1, sizeof(*tiers));
	void *settings = calloc(1, ops->settings_size);
	struct error error;

	option_presets(*ops->options, settings);
	set(settings, "local.size", "1MB");
	set(settings, "shared.place", "here");
	tiers->cache = ops->open(settings, false, &error);
	tiers->host = (struct cache_host){.context = tiers, .purged = on_purged_elsewhere, .listener = tiers};
	shared.down = false;
	tiers->lane = ops->attach(tiers->cache, &tiers->host);
	*state = tiers;
	return 0;
}

static int
teardown(void **state)
{
	struct tiers *tiers = *state;

	ops->detach(tiers->lane);
	ops->close(tiers->cache);
	free(tiers);
	return 0;
}

static struct cache_key
key_of(uint32_t number)
{
	struct cache_key key = {.digest = {.length = 16}, .scope = bytes_text(SCOPE)};

	memcpy(key.digest.bytes, &number, sizeof(number));
	memcpy(key.digest.bytes + 8, &number, sizeof(number));
	return key;
}

static void
insert_as(struct tiers *tiers, uint32_t number, uint8_t value, enum cache_insert_mode mode)
{
	struct cache_key key = key_of(number);
	struct cache_insert insertion = {.key = &key, .value = blob_copy(bytes_make(&value, 1)), .mode = mode};

	assert_true(ops->insert(tiers->lane, &insertion));
	blob_unref(insertion.value);
}

static void
insert(struct tiers *tiers, uint32_t number, uint8_t value)
{
	insert_as(tiers, number, value, CACHE_PUT);
}

/* Returns the value in front; -1: there is none. */
static int
peek(struct tiers *tiers, uint32_t number)
{
	struct cache_key key = key_of(number);
	struct blob *value = NULL;
	struct cache_lookup lookup = {.keys = &key, .count = 1, .values = &value};
	int found;

	ops->peek(tiers->lane, &lookup);
	found = value == NULL ? -1 : value->data[0];
	blob_unref(value);
	return found;
}

/* Looks a key up behind; `before` and `after` are called before and after the values are read there. */
static bool
look_up(struct tiers *tiers, uint32_t number, void (*before)(struct tiers *), void (*after)(struct tiers *))
{
	struct cache_key key = key_of(number);
	struct blob *value = NULL;
	struct cache_lookup lookup = {.keys = &key, .count = 1, .values = &value, .counted = CACHE_COUNT_HITS};
	bool found;

	assert_false(ops->lookup(tiers->lane, &lookup));
	if (before != NULL) {
		before(tiers);
	}
	find_values();
	if (after != NULL) {
		after(tiers);
	}
	found = value != NULL;
	if (found) {
		ops->confirm(tiers->lane, &lookup, 0, 0, 0);
	}
	blob_unref(value);
	return found;
}

static void
on_purge_done(struct cache_purge *purge)
{
	(void)purge;
}

static struct cache_purge everything = {.done = on_purge_done};

static void
begin_purge(struct tiers *tiers)
{
	assert_false(ops->purge(tiers->lane, &everything));
}

static void
purge_all(struct tiers *tiers)
{
	begin_purge(tiers);
	end_purge();
}

static void
purge_elsewhere(struct tiers *tiers)
{
	(void)tiers;
	shared.lane->host->purged(shared.lane->host->listener, bytes_text("model"), bytes_make(NULL, 0), 1234);
}

static void
store_newer(struct tiers *tiers)
{
	insert(tiers, 1, 12);
}

/* --- Tests --- */

static void
test_an_older_value_does_not_replace_a_newer(void **state)
{
	struct tiers *tiers = *state;

	insert(tiers, 1, 11);
	assert_true(look_up(tiers, 1, NULL, store_newer));
	assert_int_equal(peek(tiers, 1), 12);
}

static void
test_what_is_too_large_takes_the_older_away(void **state)
{
	struct tiers *tiers = *state;
	struct cache_key key = key_of(1);
	struct cache_insert insertion = {.key = &key, .value = blob_new(2000000)};

	insert(tiers, 1, 11);
	insert(tiers, 1, 11);
	assert_int_equal(peek(tiers, 1), 11);
	assert_true(ops->insert(tiers->lane, &insertion));
	blob_unref(insertion.value);
	assert_int_equal(peek(tiers, 1), -1);
}

static void
test_options(void **state)
{
	char text[200];
	struct error error = {0};
	void *settings = calloc(1, ops->settings_size);

	assert_null(option_find(*ops->options, bytes_text("size")));
	assert_true(option_find(*ops->options, bytes_text("shared.place"))->secret);
	assert_non_null(option_find(*ops->options, bytes_text("promotion_window")));
	ops->describe(((struct tiers *)*state)->cache, text, sizeof(text));
	assert_string_equal(text, "tiered: local, 1000000 bytes in 1 shard; behind it shared at 7");
	option_presets(*ops->options, settings);
	assert_null(ops->open(settings, false, &error));
	assert_string_equal(error.text,
			    "cache 'tiered', where the key KEY of shared is shared.KEY: cache 'shared' needs a place");
}

static void
test_what_the_table_has(void **state)
{
	(void)state;
	assert_true(ops->untrusted);
	assert_false(ops->synchronous);
	assert_int_equal(ops->default_ttl_s, 77);
	assert_non_null(ops->reset_connections);
	assert_true(ops->secret == NULL && ops->catch_up == NULL && ops->trouble == NULL); /* as behind */
}

static void
test_second_sight_promotes(void **state)
{
	struct tiers *tiers = *state;

	insert(tiers, 1, 11);
	assert_int_equal(peek(tiers, 1), -1);
	assert_true(look_up(tiers, 1, NULL, NULL)); /* stored, then found: seen twice */
	assert_int_equal(peek(tiers, 1), 11);
	assert_false(look_up(tiers, 2, NULL, NULL)); /* a key that is found nowhere is not seen */
	insert(tiers, 2, 22);
	assert_int_equal(peek(tiers, 2), -1);
	insert(tiers, 2, 23);
	assert_int_equal(peek(tiers, 2), 23);
}

static void
test_unconfirmed_values_stay_behind(void **state)
{
	struct tiers *tiers = *state;
	struct cache_key key = key_of(1);
	struct blob *value = NULL;
	struct cache_lookup lookup = {.keys = &key, .count = 1, .values = &value};

	insert(tiers, 1, 11);
	for (int i = 0; i < 3; i++) {
		value = NULL;
		assert_false(ops->lookup(tiers->lane, &lookup));
		find_values();
		assert_non_null(value);
		blob_unref(value);
	}
	assert_int_equal(peek(tiers, 1), -1);
}

static void
test_a_scan_stays_behind(void **state)
{
	struct tiers *tiers = *state;

	insert(tiers, 1, 11);
	assert_true(look_up(tiers, 1, NULL, NULL));
	forget_all();
	shared.down = true; /* keeps nothing */
	for (uint32_t i = 100; i < 20000; i++) {
		insert(tiers, i, 1);
	}
	assert_int_equal(peek(tiers, 1), 11);
	assert_int_equal(peek(tiers, 150), -1);
}

/* An entry in front is replaced even when its key has left the window. */
static void
test_a_newer_entry_replaces(void **state)
{
	struct tiers *tiers = *state;

	insert(tiers, 1, 11);
	assert_true(look_up(tiers, 1, NULL, NULL));
	forget_all();
	shared.down = true;
	for (uint32_t i = 100; i < 1000000; i++) {
		insert(tiers, i, 1);
	}
	insert(tiers, 1, 12);
	assert_int_equal(peek(tiers, 1), 12);
}

/* CACHE_KEEP replaces no entry, and promotes none whose key is seen for the first time. */
static void
test_what_is_there_is_kept(void **state)
{
	struct tiers *tiers = *state;

	insert_as(tiers, 1, 11, CACHE_KEEP);
	assert_int_equal(peek(tiers, 1), -1);
	insert_as(tiers, 1, 12, CACHE_KEEP); /* seen twice */
	assert_int_equal(peek(tiers, 1), 12);
	insert_as(tiers, 1, 13, CACHE_KEEP);
	assert_int_equal(peek(tiers, 1), 12);
}

static void
test_purge(void **state)
{
	struct tiers *tiers = *state;

	insert(tiers, 1, 11);
	insert(tiers, 2, 22);
	assert_true(look_up(tiers, 1, NULL, NULL));
	begin_purge(tiers);
	assert_int_equal(peek(tiers, 1), -1);
	assert_true(look_up(tiers, 2, NULL, NULL)); /* not yet purged behind, and promoted */
	assert_int_equal(peek(tiers, 2), 22);
	end_purge();
	assert_int_equal(peek(tiers, 2), -1);
	assert_false(everything.failed);
	assert_int_equal(everything.removed, 2); /* not once for each tier */
}

static void
test_purge_without_the_store_behind(void **state)
{
	struct tiers *tiers = *state;
	struct cache_purge purge = {.done = on_purge_done};

	insert(tiers, 1, 11);
	assert_true(look_up(tiers, 1, NULL, NULL));
	shared.down = true;
	assert_true(ops->purge(tiers->lane, &purge));
	assert_true(purge.failed);
	assert_int_equal(purge.removed, 1);
	assert_int_equal(peek(tiers, 1), -1);
}

static void
test_nothing_rises_after_a_purge(void **state)
{
	struct tiers *tiers = *state;

	insert(tiers, 1, 11);
	assert_true(look_up(tiers, 1, NULL, purge_all));
	assert_int_equal(peek(tiers, 1), -1);
	insert(tiers, 2, 22);
	assert_true(look_up(tiers, 2, begin_purge, NULL));
	end_purge();
	assert_int_equal(peek(tiers, 2), -1);
	insert(tiers, 3, 33);
	assert_true(look_up(tiers, 3, NULL, purge_elsewhere));
	assert_int_equal(peek(tiers, 3), -1);
	assert_true(look_up(tiers, 3, NULL, NULL));
	assert_int_equal(peek(tiers, 3), 33);
}

static void
test_purged_elsewhere(void **state)
{
	struct tiers *tiers = *state;

	insert(tiers, 1, 11);
	assert_true(look_up(tiers, 1, NULL, NULL));
	purge_elsewhere(tiers);
	assert_int_equal(peek(tiers, 1), -1);
	assert_int_equal(tiers->purged, 1); /* and passed on to the host */
}

/* An entry that goes is gone from both tiers. Leases are of the store behind. */
static void
test_removal_and_leases(void **state)
{
	struct tiers *tiers = *state;
	struct cache_key key = key_of(1);
	struct cache_lease lease = {.key = &key};

	shared.removed = shared.leased = shared.released = 0;
	insert(tiers, 1, 10);
	insert(tiers, 1, 11); /* the second time it comes into the front */
	assert_int_equal(peek(tiers, 1), 11);
	ops->remove(tiers->lane, &key);
	assert_int_equal(peek(tiers, 1), -1);
	assert_int_equal(shared.removed, 1);
	assert_true(ops->lease(tiers->lane, &lease));
	assert_int_equal(lease.result, CACHE_LEASE_HELD);
	ops->release(tiers->lane, &key);
	assert_int_equal(shared.leased + shared.released, 2);
}

static void
test_statistics(void **state)
{
	struct tiers *tiers = *state;
	struct cache_statistics statistics;

	insert(tiers, 1, 11);
	for (int i = 0; i < 4; i++) { /* a miss in front and a hit behind, then three hits in front */
		if (peek(tiers, 1) < 0) {
			assert_true(look_up(tiers, 1, NULL, NULL));
		}
	}
	ops->statistics(tiers->cache, &statistics);
	assert_int_equal(statistics.lookups, 4);
	assert_int_equal(statistics.hits, 4);
	assert_int_equal(statistics.entries, 1);
	assert_int_equal(statistics.capacity_bytes, 1000000);
	assert_int_equal(statistics.inserts, 5);
	assert_int_equal(statistics.connections, 3);
}

static void
test_metrics(void **state)
{
	struct tiers *tiers = *state;
	struct buf out;
	struct metric_sink printer = metric_printer(&out);

	buf_init(&out, 1 << 16);
	insert(tiers, 1, 11);
	assert_true(look_up(tiers, 1, NULL, NULL));
	assert_int_equal(peek(tiers, 1), 11);
	assert_int_equal(peek(tiers, 1), 11);
	ops->metrics(tiers->cache, &printer);
	buf_byte(&out, '\0');
	assert_non_null(strstr((const char *)out.at, "\nhippocamp_cache_tier_hits_total{tier=\"local\"} 2\n"));
	assert_non_null(strstr((const char *)out.at, "\nhippocamp_cache_tier_hits_total{tier=\"shared\"} 1\n"));
	assert_non_null(strstr((const char *)out.at, "\nhippocamp_cache_promotions_total 1\n"));
	buf_fini(&out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_options),
		TEST(test_what_the_table_has),
		TEST(test_second_sight_promotes),
		TEST(test_an_older_value_does_not_replace_a_newer),
		TEST(test_what_is_too_large_takes_the_older_away),
		TEST(test_unconfirmed_values_stay_behind),
		TEST(test_a_scan_stays_behind),
		TEST(test_a_newer_entry_replaces),
		TEST(test_what_is_there_is_kept),
		TEST(test_purge),
		TEST(test_purge_without_the_store_behind),
		TEST(test_nothing_rises_after_a_purge),
		TEST(test_purged_elsewhere),
		TEST(test_removal_and_leases),
		TEST(test_statistics),
		TEST(test_metrics),
	};

	ops = cache_tiered_ops(&cache_local_ops, &shared_ops);
	return ops == NULL || cmocka_run_group_tests(tests, NULL, NULL);
}
