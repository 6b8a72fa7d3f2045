#include "front/shared_record.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/memory.h"
#include "inference/cache/cache_host.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_NS UINT64_C(200000000) /* longer, and models would be followed late */
#define MAC_SIZE 16
#define SCOPE "hippocamp.generation:0:0" /* model, version and fingerprint of no model */

struct shared_record {
	struct response_cache *cache;
	struct loop *loop;
	const atomic_bool *stopping;
	struct buf name;
	struct buf covered;
	struct cache_host host;
	struct cache_lane *lane;
	uint64_t secret_generation;
	struct keyed_hash *mac; /* NULL: the secret is not known */
	struct cache_key key;

	/* Kept until the store has answered, however late. */
	struct cache_lookup lookup;
	struct cache_key lookup_key;
	struct blob *value;
	bool is_looking_up;
	bool is_late; /* the answer came after shared_record_read had returned: the next one takes it */
	struct cache_insert insert;
	struct cache_key insert_key;
	bool is_inserting;
};

static bool
take_keys(struct shared_record *record, const struct response_cache_keys *keys)
{
	enum keyed_hash_kind kind = (enum keyed_hash_kind)record->cache->settings.key_hash;
	struct keyed_hash *hash = keyed_hash_new(kind, &keys->lookup);
	bool good = hash != NULL && keyed_hash_once(hash, buf_bytes(&record->name), &record->key.digest);

	keyed_hash_free(hash);
	keyed_hash_free(record->mac);
	record->mac = good ? keyed_hash_new(kind, &keys->entry) : NULL;
	record->key.scope = bytes_text(SCOPE);
	return record->mac != NULL;
}

/* The store may keep the secret, and change it. */
static bool
has_keys(struct shared_record *record)
{
	const struct response_cache *cache = record->cache;
	const struct cache_secret *shared;
	struct response_cache_keys keys;
	bool good;

	if (cache->has_secret) {
		return record->mac != NULL || take_keys(record, &cache->keys);
	}
	shared = cache->ops->secret(record->lane);
	if (shared == NULL || (record->mac != NULL && shared->generation == record->secret_generation)) {
		return shared != NULL;
	}
	response_cache_keys_derive(&keys, (enum keyed_hash_kind)cache->settings.key_hash,
				   bytes_make(shared->bytes, sizeof(shared->bytes)));
	good = take_keys(record, &keys);
	explicit_bzero(&keys, sizeof(keys));
	record->secret_generation = shared->generation;
	return good;
}

static void
wait_for(struct shared_record *record, const bool *is_under_way)
{
	uint64_t deadline = clock_now_ns() + WAIT_NS;

	while (*is_under_way && !atomic_load(record->stopping) && clock_now_ns() < deadline) {
		loop_turn(record->loop);
	}
}

/* --- Reading --- */

static void
on_lookup(struct cache_lookup *lookup)
{
	struct shared_record *record = container_of(lookup, struct shared_record, lookup);

	record->is_looking_up = false;
}

/* What the MAC is of: the content and the name, so that a record is believed under its own name only. */
static struct bytes
covered(struct shared_record *record, struct bytes content)
{
	buf_clear(&record->covered);
	buf_append(&record->covered, buf_bytes(&record->name));
	buf_append(&record->covered, content);
	return buf_bytes(&record->covered);
}

static enum shared_read
take(struct shared_record *record, void *at, size_t length)
{
	struct bytes value = record->value == NULL ? bytes_make(NULL, 0) : blob_bytes(record->value);
	bool good = false;

	if (value.length == MAC_SIZE + length) {
		memcpy(at, value.at + MAC_SIZE, length);
		good = keyed_hash_verify(record->mac, covered(record, bytes_make(at, length)),
					 bytes_make(value.at, MAC_SIZE));
	}
	blob_unref(record->value);
	record->value = NULL;
	return good ? SHARED_FOUND : record->lookup.failed ? SHARED_UNKNOWN : SHARED_NONE;
}

static void
look_up(struct shared_record *record)
{
	record->lookup_key = record->key;
	record->lookup = (struct cache_lookup){.keys = &record->lookup_key,
					       .count = 1,
					       .values = &record->value,
					       .now_ns = clock_now_ns(),
					       .counted = CACHE_COUNT_NOTHING,
					       .done = on_lookup};
	record->is_looking_up = !record->cache->ops->lookup(record->lane, &record->lookup);
	wait_for(record, &record->is_looking_up);
}

enum shared_read
shared_record_read(struct shared_record *record, void *at, size_t length)
{
	if (record->lane == NULL) {
		record->lane = record->cache->ops->attach(record->cache->store, &record->host);
	}
	wait_for(record, &record->is_looking_up); /* a late one */
	if (record->lane == NULL || record->is_looking_up || !has_keys(record)) {
		return SHARED_UNKNOWN;
	}
	if (!record->is_late) {
		look_up(record);
	}
	record->is_late = record->is_looking_up;
	return record->is_looking_up ? SHARED_UNKNOWN : take(record, at, length);
}

/* --- Writing --- */

static void
on_inserted(struct cache_insert *insert)
{
	struct shared_record *record = container_of(insert, struct shared_record, insert);

	blob_unref(insert->value);
	record->is_inserting = false;
}

bool
shared_record_write(struct shared_record *record, struct bytes bytes, uint64_t ttl_ms)
{
	struct digest_value mac;
	struct blob *value;

	wait_for(record, &record->is_inserting); /* a late one */
	if (record->lane == NULL || record->is_inserting || !has_keys(record) ||
	    !keyed_hash_once(record->mac, covered(record, bytes), &mac)) {
		return false;
	}
	value = blob_new(MAC_SIZE + bytes.length);
	if (value == NULL) {
		return false;
	}
	memcpy(value->data, mac.bytes, MAC_SIZE);
	memcpy(value->data + MAC_SIZE, bytes.at, bytes.length);
	record->insert_key = record->key;
	record->insert = (struct cache_insert){
		.key = &record->insert_key, .value = value, .ttl_ms = ttl_ms, .mode = CACHE_PUT, .done = on_inserted};
	record->is_inserting = true;
	if (record->cache->ops->insert(record->lane, &record->insert)) {
		on_inserted(&record->insert);
	}
	wait_for(record, &record->is_inserting);
	return !record->is_inserting;
}

/* --- Life --- */

struct shared_record *
shared_record_new(struct response_cache *cache, struct loop *loop, struct bytes name, const atomic_bool *stopping)
{
	struct shared_record *record = memory_new(sizeof(*record));

	record->cache = cache;
	record->loop = loop;
	record->stopping = stopping;
	buf_init(&record->name, SIZE_MAX / 2);
	buf_init(&record->covered, SIZE_MAX / 2);
	buf_format(&record->name, "hippocamp record 1 %s ",
		   cache->settings.name_space == NULL ? "" : cache->settings.name_space);
	buf_append(&record->name, name);
	cache_host_init(&record->host, loop, NULL);
	return record;
}

void
shared_record_free(struct shared_record *record)
{
	if (record == NULL) {
		return;
	}
	if (record->lane != NULL) {
		record->cache->ops->detach(record->lane);
	}
	blob_unref(record->value);
	keyed_hash_free(record->mac);
	buf_fini(&record->name);
	buf_fini(&record->covered);
	free(record);
}
