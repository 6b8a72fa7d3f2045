#include "caches/redis/purge_watch.h"

#include "base/clock.h"
#include "base/digest.h"

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
watches(const struct purge_watch *watch)
{
	return watch->topology->shared.announces && watch->topology->shared.host->purged != NULL;
}

static struct bytes
key_of(const struct redis_topology *topology, char *room)
{
	return redis_settings_key(topology->shared.settings, "purges", room);
}

static struct purge_mark *
find_mark(struct purge_watch *watch, struct bytes what)
{
	struct purge_mark *marks;
	struct blob *copy;

	for (size_t i = 0; i < watch->mark_count; i++) {
		if (bytes_equal(blob_bytes(watch->marks[i].what), what)) {
			return &watch->marks[i];
		}
	}
	copy = blob_copy(what);
	marks = copy == NULL ? NULL : realloc(watch->marks, (watch->mark_count + 1) * sizeof(*watch->marks));
	if (marks == NULL) {
		blob_unref(copy);
		return NULL;
	}
	watch->marks = marks;
	marks[watch->mark_count] = (struct purge_mark){.what = copy};
	return &marks[watch->mark_count++];
}

static void
report(const struct purge_watch *watch, struct bytes model, struct bytes version, uint64_t at_ms)
{
	const struct cache_host *host = watch->topology->shared.host;

	host->purged(host->listener, model, version, at_ms);
}

/* Splits `what` at its last colon: a model may hold colons, a version holds none. */
static void
pass_on(struct purge_watch *watch, struct bytes what, uint64_t at_ms)
{
	size_t colon = what.length;

	while (colon > 0 && what.at[colon - 1] != ':') {
		colon--;
	}
	if (colon > 0) {
		report(watch, bytes_make(what.at, colon - 1), bytes_skip(what, colon), at_ms);
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
take_mark(struct purge_watch *watch, struct bytes what, struct bytes token)
{
	struct purge_mark *mark = find_mark(watch, what);
	uint64_t hash = checksum64(token);

	if (mark == NULL) {
		report(watch, bytes_make("", 0), bytes_make("", 0), 0);
		return;
	}
	mark->there = true;
	if (mark->token != hash) {
		mark->token = hash;
		if (watch->known) {
			pass_on(watch, what, time_of(token));
		}
	}
}

/* Forgets the marks that Redis has lost and reports them with the time 0: later purges may be lost, too. */
static void
drop_lost_marks(struct purge_watch *watch)
{
	size_t kept = 0;

	for (size_t i = 0; i < watch->mark_count; i++) {
		struct purge_mark *mark = &watch->marks[i];

		if (mark->there) {
			mark->there = false;
			watch->marks[kept++] = *mark;
		} else {
			pass_on(watch, blob_bytes(mark->what), 0);
			blob_unref(mark->what);
		}
	}
	watch->mark_count = kept;
}

/* Deletes the hash. Every watcher then reports as lost the marks that it knew. */
static void
give_up_marks(struct redis_topology *topology)
{
	char room[REDIS_KEY_ROOM];

	(void)route_words(topology, ROUTE_TOLD, 2, (const struct bytes[]){bytes_text("UNLINK"), key_of(topology, room)},
			  NULL, NULL);
}

static void
take_marks(struct purge_watch *watch, const valkeyReply *marks)
{
	if (marks->elements > 2 * MARKS_MAX) {
		report(watch, bytes_make("", 0), bytes_make("", 0), 0);
		drop_lost_marks(watch);
		watch->known = true;
		give_up_marks(watch->topology);
		return;
	}
	for (size_t i = 0; i + 1 < marks->elements; i += 2) {
		const valkeyReply *what = marks->element[i];
		const valkeyReply *token = marks->element[i + 1];

		if (redis_reply_is_text(what) && redis_reply_is_text(token)) {
			take_mark(watch, reply_text(what), reply_text(token));
		}
	}
	drop_lost_marks(watch);
	watch->known = true;
}

static void look(struct purge_watch *watch);

static void
tell(struct purge_watch *watch, bool *told, const struct redis_reply *reply, const char *cost)
{
	char line[512];

	if (!*told) {
		*told = true;
		(void)snprintf(line, sizeof(line), "cache 'redis': the server does not tell of purges (%.200s): %s",
			       reply->base.str, cost);
		topology_log(watch->topology, LOG_INFO, line);
	}
}

static void
on_marks(void *argument, const struct redis_reply *reply)
{
	struct purge_watch *watch = argument;

	watch->asked = false;
	if (reply_is(reply, VALKEY_REPLY_ERROR)) {
		watch->refused_ns = clock_now_ns();
		tell(watch, &watch->refused_told, reply,
		     "what other servers purge is not seen by this one, and may be answered from its own memory");
	}
	watch->refused_ns = reply_is(reply, VALKEY_REPLY_ERROR) ? watch->refused_ns : 0;
	if (reply_is(reply, VALKEY_REPLY_MAP) || reply_is(reply, VALKEY_REPLY_ARRAY)) {
		take_marks(watch, &reply->base);
	}
	if (watch->again && reply != NULL) {
		look(watch);
	}
}

static void
look(struct purge_watch *watch)
{
	char room[REDIS_KEY_ROOM];

	if (watch->asked) {
		watch->again = true;
		return;
	}
	watch->again = false;
	watch->checked_ns = clock_now_ns();
	watch->asked = route_words(watch->topology, ROUTE_QUIET, 2,
				   (const struct bytes[]){bytes_text("HGETALL"), key_of(watch->topology, room)},
				   on_marks, watch);
}

void
purge_watch_check(struct purge_watch *watch)
{
	uint64_t interval = watch->refused_ns != 0 ? REFUSED_NS : CHECK_NS;

	if (watches(watch) && !watch->asked && clock_now_ns() - watch->checked_ns > interval) {
		look(watch);
	}
}

/* Refused by servers that only resemble Redis, by old ones, and where the user lacks the permission. */
static void
on_tracking(void *argument, const struct redis_reply *reply)
{
	struct purge_watch *watch = argument;

	if (reply_is(reply, VALKEY_REPLY_ERROR)) {
		tell(watch, &watch->tracking_told, reply,
		     "what other servers purge is seen up to 5 s later (CLIENT TRACKING with BCAST tells at once)");
	}
}

void
purge_watch_link(struct purge_watch *watch, struct redis_link *link)
{
	char room[REDIS_KEY_ROOM];

	if (watches(watch)) {
		(void)route_words_on(watch->topology, link, ROUTE_QUIET, 6,
				     (const struct bytes[]){bytes_text("CLIENT"), bytes_text("TRACKING"),
							    bytes_text("ON"), bytes_text("BCAST"), bytes_text("PREFIX"),
							    key_of(watch->topology, room)},
				     on_tracking, watch);
		look(watch);
	}
}

void
purge_watch_pushed(struct purge_watch *watch, const struct redis_reply *reply)
{
	const valkeyReply *kind = reply->base.elements == 2 ? reply->base.element[0] : NULL;

	if (watches(watch) && kind != NULL && redis_reply_is_text(kind) &&
	    bytes_equal_text(reply_text(kind), "invalidate")) {
		look(watch);
	}
}

static void
on_counted(void *argument, const struct redis_reply *reply)
{
	struct redis_topology *topology = argument;

	if (reply_is(reply, VALKEY_REPLY_INTEGER) && reply->base.integer > MARKS_MAX) {
		give_up_marks(topology);
	}
}

/* Adds a mark and bounds their number, since there may be no watcher that does. */
void
purge_watch_tell(struct redis_topology *topology, const struct cache_purge *purge)
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
	(void)(buf_ok(&what) && route_words(topology, ROUTE_TOLD, 4,
					    (const struct bytes[]){bytes_text("HSET"), key_of(topology, room),
								   buf_bytes(&what), bytes_text(mark)},
					    NULL, NULL));
	(void)route_words(topology, ROUTE_TOLD, 2, (const struct bytes[]){bytes_text("HLEN"), key_of(topology, room)},
			  on_counted, topology);
	buf_fini(&what);
}

void
purge_watch_fini(struct purge_watch *watch)
{
	for (size_t i = 0; i < watch->mark_count; i++) {
		blob_unref(watch->marks[i].what);
	}
	free(watch->marks);
}
