/*
 * Purging: runs SCAN on every usable primary and UNLINK on the entries to be purged, then tells the other servers. A
 * failure on one primary does not stop the purge on the others.
 */
#include "caches/redis/entry_key.h"
#include "caches/redis/lane.h"

#include <stdlib.h>

#define SCAN_COUNT "1000"
#define ROUNDS_MAX 5 /* if a cluster is moving slots */

struct purging {
	struct redis_lane *lane;
	struct cache_purge *purge;
	size_t underway; /* commands in flight, plus one while a round starts */
	uint64_t map_version;
	unsigned rounds;
	bool starting; /* redis_purge has not returned yet */
	bool over;
	struct buf name; /* scratch space for a decoded model name */
};

static void
free_purging(struct purging *purging)
{
	buf_fini(&purging->name);
	free(purging);
}

/* The scan of one primary. */
struct scan {
	struct purging *purging;
	struct redis_node *node;
	struct buf cursor;
};

static void start_round(struct purging *purging);
static void on_keys(void *argument, const struct redis_reply *reply);

static void
release(struct purging *purging)
{
	struct cache_purge *purge = purging->purge;

	if (--purging->underway > 0) {
		return;
	}
	/* A slot that moved meanwhile may have been missed on both of its servers. */
	if (!purge->failed && purging->lane->topology.map_version != purging->map_version &&
	    purging->rounds < ROUNDS_MAX) {
		start_round(purging);
		return;
	}
	purge_watch_tell(&purging->lane->topology, purge);
	if (purging->starting) {
		purging->over = true;
		return;
	}
	free_purging(purging);
	purge->done(purge);
}

static void
free_scan(struct scan *scan)
{
	struct purging *purging = scan->purging;

	buf_fini(&scan->cursor);
	free(scan);
	release(purging);
}

/* --- Keys --- */

/* Whether the purge covers `key`. Only a key that has the form of an entry's name is ours to remove. */
static bool
covered(struct purging *purging, struct bytes key)
{
	struct bytes model;
	struct bytes version;
	uint8_t *room;

	buf_clear(&purging->name);
	room = buf_reserve(&purging->name, key.length);
	return room != NULL &&
	       entry_key_read(key, purging->lane->cache->settings->key_prefix, room, &model, &version) &&
	       cache_purge_covers(purging->purge, model, version);
}

static void
on_unlinked(void *argument, const struct redis_reply *reply)
{
	struct purging *purging = argument;

	if (reply_is(reply, VALKEY_REPLY_INTEGER)) {
		purging->purge->removed += (uint64_t)reply->base.integer;
	} else {
		purging->purge->failed = true;
	}
	release(purging);
}

static void
unlink_keys(struct purging *purging, size_t count, const struct bytes *words)
{
	purging->underway++;
	if (!route_words(&purging->lane->topology, ROUTE_TOLD, count, words, on_unlinked, purging)) {
		purging->purge->failed = true;
		purging->underway--;
	}
}

/* In a cluster each key may be in another slot and needs a command of its own. */
static void
unlink_page(struct purging *purging, const valkeyReply *keys)
{
	struct bytes *words = calloc(keys->elements + 1, sizeof(*words));
	size_t count = 1;

	if (words == NULL) {
		purging->purge->failed = true;
		return;
	}
	words[0] = bytes_text("UNLINK");
	for (size_t i = 0; i < keys->elements; i++) {
		words[count] = reply_text(keys->element[i]);
		count += covered(purging, words[count]);
		if (purging->lane->topology.cluster && count == 2) {
			unlink_keys(purging, count, words);
			count = 1;
		}
	}
	if (count > 1) {
		unlink_keys(purging, count, words);
	}
	free(words);
}

/* --- Pages of keys --- */

/* Appends the MATCH pattern for all keys under the prefix, which is escaped. */
static void
append_pattern(const char *prefix, struct buf *pattern)
{
	for (; *prefix != '\0'; prefix++) {
		if (strchr("*?[]\\^-", *prefix) != NULL) {
			buf_byte(pattern, '\\');
		}
		buf_byte(pattern, (uint8_t)*prefix);
	}
	buf_text(pattern, ":*");
}

static bool
scan_on(struct scan *scan)
{
	struct redis_lane *lane = scan->purging->lane;
	struct buf pattern;
	bool sent;

	buf_init(&pattern, 65536);
	append_pattern(lane->cache->settings->key_prefix, &pattern);
	sent = buf_ok(&pattern) &&
	       route_words_on(&lane->topology, redis_node_pick(scan->node, REDIS_SMALL), ROUTE_TOLD, 6,
			      (const struct bytes[]){bytes_text("SCAN"), buf_bytes(&scan->cursor), bytes_text("MATCH"),
						     buf_bytes(&pattern), bytes_text("COUNT"), bytes_text(SCAN_COUNT)},
			      on_keys, scan);
	buf_fini(&pattern);
	return sent;
}

static bool
is_page(const struct redis_reply *reply)
{
	const valkeyReply *base = reply == NULL ? NULL : &reply->base;

	if (base == NULL || base->type != VALKEY_REPLY_ARRAY || base->elements != 2 ||
	    !redis_reply_is_text(base->element[0]) || base->element[1]->type != VALKEY_REPLY_ARRAY) {
		return false;
	}
	for (size_t i = 0; i < base->element[1]->elements; i++) {
		if (!redis_reply_is_text(base->element[1]->element[i])) {
			return false;
		}
	}
	return true;
}

static void
on_keys(void *argument, const struct redis_reply *reply)
{
	struct scan *scan = argument;
	bool last;

	if (!is_page(reply)) {
		scan->purging->purge->failed = true;
		free_scan(scan);
		return;
	}
	buf_clear(&scan->cursor);
	buf_append(&scan->cursor, reply_text(reply->base.element[0]));
	unlink_page(scan->purging, reply->base.element[1]);
	last = bytes_equal_text(buf_bytes(&scan->cursor), "0");
	if (!last && scan_on(scan)) {
		return;
	}
	scan->purging->purge->failed = scan->purging->purge->failed || !last;
	free_scan(scan);
}

static void
start_scan(struct purging *purging, struct redis_node *node)
{
	struct scan *scan = node == NULL ? NULL : calloc(1, sizeof(*scan));

	if (scan == NULL) {
		purging->purge->failed = true;
		return;
	}
	*scan = (struct scan){.purging = purging, .node = node};
	buf_init(&scan->cursor, 64);
	buf_text(&scan->cursor, "0");
	purging->underway++;
	if (!scan_on(scan)) {
		purging->purge->failed = true;
		free_scan(scan);
	}
}

static void
start_round(struct purging *purging)
{
	struct redis_lane *lane = purging->lane;

	purging->rounds++;
	purging->map_version = lane->topology.map_version;
	purging->underway = 1;
	for (size_t i = 0; i < lane->topology.shard_count; i++) {
		start_scan(purging, topology_primary(&lane->topology, i));
	}
	release(purging);
}

bool
redis_purge(struct cache_lane *base, struct cache_purge *purge)
{
	struct redis_lane *lane = redis_lane_of(base);
	struct purging *purging = NULL;

	purge->removed = 0;
	purge->failed = lane->topology.shard_count == 0 || (lane->topology.cluster && lane->topology.shard_of == NULL);
	if (!purge->failed) {
		purging = calloc(1, sizeof(*purging));
		purge->failed = purging == NULL;
	}
	if (purge->failed) {
		return true;
	}
	*purging = (struct purging){.lane = lane, .purge = purge, .starting = true};
	buf_init(&purging->name, 65536);
	start_round(purging);
	purging->starting = false;
	if (purging->over) {
		free_purging(purging);
		return true;
	}
	return false;
}
