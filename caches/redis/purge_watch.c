/*
 * How a tier in front of Redis learns of purges by other servers. <prefix>:purges is a hash with one field for each
 * model (and version) that was purged, whose value is "<random number>.<ms since 1970>" of the last purge. The number
 * is random because a count would start again when Redis loses its data.
 *
 * Watchers read the hash after every connection and every 5 s. Where the server speaks RESP3, client-side caching
 * (https://redis.io/docs/latest/develop/reference/client-side-caching/) also tells them at once that it has changed.
 */
#include "base/clock.h"
#include "base/digest.h"
#include "caches/redis/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK_NS UINT64_C(5000000000)
#define REFUSED_NS UINT64_C(600000000000) /* after HGETALL was refused */
#define MARKS_MAX 1024			  /* a hash with more is deleted; its purges then count as lost */

struct purge_mark {
	struct blob *what; /* "<model>:<version>"; both may be empty */
	uint64_t token;	   /* a hash of the field's value */
	bool there;	   /* present in the reply that is being read */
};

static bool
watches(const struct cache_lane *lane)
{
	return lane->announces && lane->host->purged != NULL;
}

static struct bytes
key_of(const struct cache_lane *lane, char *room)
{
	return redis_settings_key(lane->cache->settings, "purges", room);
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

/* Splits `what` at its last colon: a model may hold colons, a version holds none. */
static void
pass_on(struct cache_lane *lane, struct bytes what, uint64_t at_ms)
{
	size_t colon = what.length;

	while (colon > 0 && what.at[colon - 1] != ':') {
		colon--;
	}
	if (colon > 0) {
		lane->host->purged(lane->host->listener, bytes_make(what.at, colon - 1), bytes_skip(what, colon),
				   at_ms);
	}
}

/* Returns the time of a purge, or the current time if an older server wrote the mark without one. */
static uint64_t
time_of(struct bytes token)
{
	const uint8_t *dot = token.length == 0 ? NULL : memchr(token.at, '.', token.length);
	char text[24] = "";
	uint64_t at_ms;

	if (dot != NULL && (size_t)(token.at + token.length - dot) <= sizeof(text)) {
		memcpy(text, dot + 1, (size_t)(token.at + token.length - dot) - 1);
	}
	at_ms = strtoull(text, NULL, 10);
	return at_ms == 0 ? clock_wall_ms() : at_ms;
}

static void
take_mark(struct cache_lane *lane, struct bytes what, struct bytes token)
{
	struct purge_mark *mark = find_mark(lane, what);
	uint64_t hash = checksum64(token);

	if (mark == NULL) {
		lane->host->purged(lane->host->listener, bytes_make("", 0), bytes_make("", 0), 0);
		return;
	}
	mark->there = true;
	if (mark->token != hash) {
		mark->token = hash;
		if (lane->purges_known) {
			pass_on(lane, what, time_of(token));
		}
	}
}

/* Forgets the marks that Redis has lost and reports them with the time 0: later purges may be lost, too. */
static void
drop_lost_marks(struct cache_lane *lane)
{
	size_t kept = 0;

	for (size_t i = 0; i < lane->purge_mark_count; i++) {
		struct purge_mark *mark = &lane->purge_marks[i];

		if (mark->there) {
			mark->there = false;
			lane->purge_marks[kept++] = *mark;
		} else {
			pass_on(lane, blob_bytes(mark->what), 0);
			blob_unref(mark->what);
		}
	}
	lane->purge_mark_count = kept;
}

/* Deletes the hash. Every watcher then reports as lost the marks that it knew. */
static void
give_up_marks(struct cache_lane *lane)
{
	char room[REDIS_KEY_ROOM];

	(void)route_words(lane, ROUTE_TOLD, 2, (const struct bytes[]){bytes_text("UNLINK"), key_of(lane, room)}, NULL,
			  NULL);
}

static void
take_marks(struct cache_lane *lane, const valkeyReply *marks)
{
	if (marks->elements > 2 * MARKS_MAX) {
		lane->host->purged(lane->host->listener, bytes_make("", 0), bytes_make("", 0), 0);
		drop_lost_marks(lane);
		lane->purges_known = true;
		give_up_marks(lane);
		return;
	}
	for (size_t i = 0; i + 1 < marks->elements; i += 2) {
		const valkeyReply *what = marks->element[i];
		const valkeyReply *token = marks->element[i + 1];

		if (redis_reply_is_text(what) && redis_reply_is_text(token)) {
			take_mark(lane, reply_text(what), reply_text(token));
		}
	}
	drop_lost_marks(lane);
	lane->purges_known = true;
}

static void look(struct cache_lane *lane);

static void
tell(struct cache_lane *lane, bool *told, const struct redis_reply *reply, const char *cost)
{
	char line[512];

	if (!*told) {
		*told = true;
		(void)snprintf(line, sizeof(line), "cache 'redis': the server does not tell of purges (%.200s): %s",
			       reply->base.str, cost);
		lane_log(lane, LOG_INFO, line);
	}
}

static void
on_marks(struct cache_lane *lane, const struct redis_reply *reply, void *argument)
{
	(void)argument;
	lane->watch_asked = false;
	if (reply_is(reply, VALKEY_REPLY_ERROR)) {
		lane->watch_refused_ns = clock_now_ns();
		tell(lane, &lane->watch_refused_told, reply,
		     "what other servers purge is not seen by this one, and may be answered from its own memory");
	}
	lane->watch_refused_ns = reply_is(reply, VALKEY_REPLY_ERROR) ? lane->watch_refused_ns : 0;
	if (reply_is(reply, VALKEY_REPLY_MAP) || reply_is(reply, VALKEY_REPLY_ARRAY)) {
		take_marks(lane, &reply->base);
	}
	if (lane->watch_again && reply != NULL) {
		look(lane);
	}
}

static void
look(struct cache_lane *lane)
{
	char room[REDIS_KEY_ROOM];

	if (lane->watch_asked) {
		lane->watch_again = true;
		return;
	}
	lane->watch_again = false;
	lane->watch_checked_ns = clock_now_ns();
	lane->watch_asked =
		route_words(lane, ROUTE_QUIET, 2, (const struct bytes[]){bytes_text("HGETALL"), key_of(lane, room)},
			    on_marks, NULL);
}

void
purge_watch_check(struct cache_lane *lane)
{
	uint64_t interval = lane->watch_refused_ns != 0 ? REFUSED_NS : CHECK_NS;

	if (watches(lane) && !lane->watch_asked && clock_now_ns() - lane->watch_checked_ns > interval) {
		look(lane);
	}
}

/* Refused by servers that only resemble Redis, by old ones, and where the user lacks the permission. */
static void
on_tracking(struct cache_lane *lane, const struct redis_reply *reply, void *argument)
{
	(void)argument;
	if (reply_is(reply, VALKEY_REPLY_ERROR)) {
		tell(lane, &lane->watch_told, reply,
		     "what other servers purge is seen up to 5 s later (CLIENT TRACKING with BCAST tells at once)");
	}
}

void
purge_watch_link(struct cache_lane *lane, struct redis_link *link)
{
	char room[REDIS_KEY_ROOM];

	if (watches(lane)) {
		(void)route_words_on(lane, link, ROUTE_QUIET, 6,
				     (const struct bytes[]){bytes_text("CLIENT"), bytes_text("TRACKING"),
							    bytes_text("ON"), bytes_text("BCAST"), bytes_text("PREFIX"),
							    key_of(lane, room)},
				     on_tracking, NULL);
		look(lane);
	}
}

void
purge_watch_pushed(struct cache_lane *lane, const struct redis_reply *reply)
{
	const valkeyReply *kind = reply->base.elements == 2 ? reply->base.element[0] : NULL;

	if (watches(lane) && kind != NULL && redis_reply_is_text(kind) &&
	    bytes_equal_text(reply_text(kind), "invalidate")) {
		look(lane);
	}
}

static void
on_counted(struct cache_lane *lane, const struct redis_reply *reply, void *argument)
{
	(void)argument;
	if (reply_is(reply, VALKEY_REPLY_INTEGER) && reply->base.integer > MARKS_MAX) {
		give_up_marks(lane);
	}
}

/* Adds a mark and bounds their number, since there may be no watcher that does. */
void
purge_watch_tell(struct cache_lane *lane, const struct cache_purge *purge)
{
	char room[REDIS_KEY_ROOM];
	char mark[48];
	uint64_t number;
	struct buf what;

	random_bytes(&number, sizeof(number));
	(void)snprintf(mark, sizeof(mark), "%" PRIu64 ".%" PRIu64, number >> 1 | 1, clock_wall_ms());
	buf_init(&what, 65536);
	buf_append(&what, purge->model);
	buf_byte(&what, ':');
	buf_append(&what, purge->version);
	(void)(buf_ok(&what) && route_words(lane, ROUTE_TOLD, 4,
					    (const struct bytes[]){bytes_text("HSET"), key_of(lane, room),
								   buf_bytes(&what), bytes_text(mark)},
					    NULL, NULL));
	(void)route_words(lane, ROUTE_TOLD, 2, (const struct bytes[]){bytes_text("HLEN"), key_of(lane, room)},
			  on_counted, NULL);
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
