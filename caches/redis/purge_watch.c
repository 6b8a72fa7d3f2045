/*
 * Purges as the other servers see them, for what they keep in front of Redis: <prefix>:purges is a hash of how often
 * each model (and version) was purged. Whoever purges counts up; whoever watches is told by client-side caching
 * (https://redis.io/docs/latest/develop/reference/client-side-caching/) that the hash has changed, where the server
 * speaks RESP3, and looks from time to time, and after every connection, in any case.
 */
#include "base/clock.h"
#include "caches/redis/lane.h"

#include <stdio.h>
#include <stdlib.h>

#define CHECK_NS UINT64_C(5000000000)
#define KEY_MAX 1024
#define MARKS_MAX 65536

struct purge_mark {
	struct blob *what; /* "<model>:<version>", both perhaps empty */
	uint64_t count;
};

static bool
watches(const struct cache_lane *lane)
{
	return lane->announces && lane->host->purged != NULL;
}

static struct bytes
key_of(const struct cache_lane *lane, char *room)
{
	int length = snprintf(room, KEY_MAX, "%s:purges", lane->cache->settings->key_prefix);

	return bytes_make(room, (size_t)length < KEY_MAX ? (size_t)length : KEY_MAX - 1);
}

static struct purge_mark *
find_mark(struct cache_lane *lane, struct bytes what)
{
	struct purge_mark *marks;
	struct blob *copy;

	for (size_t i = 0; i < lane->purge_mark_count; i++) {
		if (bytes_equal(blob_bytes(lane->purge_marks[i].what), what)) {
			return &lane->purge_marks[i];
		}
	}
	if (lane->purge_mark_count == MARKS_MAX) {
		return NULL;
	}
	copy = blob_copy(what);
	marks = copy == NULL ? NULL
			     : realloc(lane->purge_marks, (lane->purge_mark_count + 1) * sizeof(*lane->purge_marks));
	if (marks == NULL) {
		blob_unref(copy);
		return NULL;
	}
	lane->purge_marks = marks;
	marks[lane->purge_mark_count] = (struct purge_mark){.what = copy};
	return &marks[lane->purge_mark_count++];
}

/* A version has no colon in it, a model may. */
static void
pass_on(struct cache_lane *lane, struct bytes what)
{
	size_t colon = what.length;

	while (colon > 0 && what.at[colon - 1] != ':') {
		colon--;
	}
	if (colon > 0) {
		lane->host->purged(lane->host->context, bytes_make(what.at, colon - 1), bytes_skip(what, colon));
	}
}

static void
take_mark(struct cache_lane *lane, struct bytes what, struct bytes count)
{
	struct purge_mark *mark = find_mark(lane, what);
	uint64_t number = 0;

	for (size_t i = 0; i < count.length && count.at[i] >= '0' && count.at[i] <= '9'; i++) {
		number = number * 10 + (uint64_t)(count.at[i] - '0');
	}
	if (mark == NULL) {
		lane->host->purged(lane->host->context, bytes_make("", 0), bytes_make("", 0));
	} else if (mark->count != number) {
		mark->count = number;
		if (lane->purges_known) {
			pass_on(lane, what);
		}
	}
}

static void
on_marks(struct cache_lane *lane, const struct redis_reply *reply, void *argument)
{
	(void)argument;
	lane->watch_asked = false;
	if (!reply_is(reply, VALKEY_REPLY_MAP) && !reply_is(reply, VALKEY_REPLY_ARRAY)) {
		return;
	}
	for (size_t i = 0; i + 1 < reply->base.elements; i += 2) {
		const valkeyReply *what = reply->base.element[i];
		const valkeyReply *count = reply->base.element[i + 1];

		if (what->type == VALKEY_REPLY_STRING && count->type == VALKEY_REPLY_STRING) {
			take_mark(lane, reply_text(what), reply_text(count));
		}
	}
	lane->purges_known = true;
}

static void
look(struct cache_lane *lane)
{
	char room[KEY_MAX];

	lane->watch_checked_ns = clock_now_ns();
	lane->watch_asked = route_words(
		lane, true, 2, (const struct bytes[]){bytes_text("HGETALL"), key_of(lane, room)}, on_marks, NULL);
}

void
purge_watch_check(struct cache_lane *lane)
{
	if (watches(lane) && !lane->watch_asked && clock_now_ns() - lane->watch_checked_ns > CHECK_NS) {
		look(lane);
	}
}

void
purge_watch_node(struct cache_lane *lane, struct redis_node *node)
{
	char room[KEY_MAX];

	if (watches(lane)) {
		(void)route_words_to(lane, node, true, 6,
				     (const struct bytes[]){bytes_text("CLIENT"), bytes_text("TRACKING"),
							    bytes_text("ON"), bytes_text("BCAST"), bytes_text("PREFIX"),
							    key_of(lane, room)},
				     NULL, NULL);
		look(lane);
	}
}

void
purge_watch_pushed(struct cache_lane *lane, const struct redis_reply *reply)
{
	const valkeyReply *kind = reply->base.elements == 2 ? reply->base.element[0] : NULL;

	if (watches(lane) && kind != NULL && kind->type == VALKEY_REPLY_STRING &&
	    bytes_equal_text(reply_text(kind), "invalidate")) {
		look(lane);
	}
}

void
purge_watch_tell(struct cache_lane *lane, const struct cache_purge *purge)
{
	char room[KEY_MAX];
	struct buf what;

	buf_init(&what, 65536);
	buf_append(&what, purge->model);
	buf_byte(&what, ':');
	buf_append(&what, purge->version);
	(void)(buf_ok(&what) && route_words(lane, true, 4,
					    (const struct bytes[]){bytes_text("HINCRBY"), key_of(lane, room),
								   buf_bytes(&what), bytes_text("1")},
					    NULL, NULL));
	buf_fini(&what);
}

void
purge_watch_fini(struct cache_lane *lane)
{
	for (size_t i = 0; i < lane->purge_mark_count; i++) {
		blob_unref(lane->purge_marks[i].what);
	}
	free(lane->purge_marks);
}
