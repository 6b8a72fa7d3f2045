#include "caches/redis/purge.h"

#include "base/buf.h"
#include "caches/redis/command.h"

#include <stdlib.h>

#define COMMAND_MAX ((size_t)64 << 20)
#define SCAN_COUNT "1000"

struct purging {
	struct redis_connection *connection;
	const struct redis_settings *settings;
	struct cache_purge *purge;
	struct buf command;
	struct buf cursor;
	size_t unanswered; /* commands */
	bool last;	   /* no more to scan */
};

static void on_keys(void *context, const struct redis_reply *reply, void *argument);

static bool
send_command(struct purging *purging, redis_reply_fn done)
{
	bool sent = buf_ok(&purging->command) &&
		    redis_connection_send(purging->connection, buf_bytes(&purging->command), done, purging);

	purging->unanswered += sent;
	purging->purge->failed = purging->purge->failed || !sent;
	return sent;
}

/* The prefix and everything behind it; what MATCH takes for a pattern in it stands for itself. */
static void
append_pattern(struct purging *purging)
{
	const char *prefix = purging->settings->key_prefix;
	struct buf pattern;

	buf_init(&pattern, COMMAND_MAX);
	for (; *prefix != '\0'; prefix++) {
		if (strchr("*?[]\\^-", *prefix) != NULL) {
			buf_byte(&pattern, '\\');
		}
		buf_byte(&pattern, (uint8_t)*prefix);
	}
	buf_text(&pattern, ":*");
	command_append(&purging->command, buf_bytes(&pattern));
	buf_fini(&pattern);
}

static bool
scan(struct purging *purging)
{
	buf_clear(&purging->command);
	buf_text(&purging->command, "*6\r\n$4\r\nSCAN\r\n");
	command_append(&purging->command, buf_bytes(&purging->cursor));
	command_append(&purging->command, bytes_text("MATCH"));
	append_pattern(purging);
	command_append(&purging->command, bytes_text("COUNT"));
	command_append(&purging->command, bytes_text(SCAN_COUNT));
	return send_command(purging, on_keys);
}

/* <prefix>:<model>:<version>:<fingerprint>:<digest>; anything else under the prefix is no entry. */
static bool
covered(const struct purging *purging, struct bytes key)
{
	struct bytes scope = bytes_skip(key, strlen(purging->settings->key_prefix) + 1);
	struct bytes model;
	struct bytes version;

	while (scope.length > 0 && scope.at[scope.length - 1] != ':') {
		scope.length--;
	}
	scope.length -= scope.length > 0;
	cache_scope_split(scope, &model, &version);
	return model.length > 0 && version.length > 0 && cache_purge_covers(purging->purge, scope);
}

static void
finish_if_over(struct purging *purging)
{
	struct cache_purge *purge = purging->purge;

	if (purging->unanswered > 0 || (!purging->last && !purge->failed)) {
		return;
	}
	buf_fini(&purging->command);
	buf_fini(&purging->cursor);
	free(purging);
	purge->done(purge);
}

static void
on_unlinked(void *context, const struct redis_reply *reply, void *argument)
{
	struct purging *purging = argument;

	(void)context;
	purging->unanswered--;
	if (reply != NULL && reply->base.type == VALKEY_REPLY_INTEGER) {
		purging->purge->removed += (uint64_t)reply->base.integer;
	} else {
		purging->purge->failed = true;
	}
	finish_if_over(purging);
}

static void
unlink_keys(struct purging *purging, const valkeyReply *keys)
{
	size_t count = 0;

	for (size_t i = 0; i < keys->elements; i++) {
		count += covered(purging, bytes_make(keys->element[i]->str, keys->element[i]->len));
	}
	if (count == 0) {
		return;
	}
	buf_clear(&purging->command);
	buf_byte(&purging->command, '*');
	buf_unsigned(&purging->command, count + 1);
	buf_text(&purging->command, "\r\n$6\r\nUNLINK\r\n");
	for (size_t i = 0; i < keys->elements; i++) {
		struct bytes key = bytes_make(keys->element[i]->str, keys->element[i]->len);

		if (covered(purging, key)) {
			command_append(&purging->command, key);
		}
	}
	(void)send_command(purging, on_unlinked);
}

static bool
is_page(const struct redis_reply *reply)
{
	const valkeyReply *base = reply == NULL ? NULL : &reply->base;

	if (base == NULL || base->type != VALKEY_REPLY_ARRAY || base->elements != 2 ||
	    base->element[0]->type != VALKEY_REPLY_STRING || base->element[1]->type != VALKEY_REPLY_ARRAY) {
		return false;
	}
	for (size_t i = 0; i < base->element[1]->elements; i++) {
		if (base->element[1]->element[i]->type != VALKEY_REPLY_STRING) {
			return false;
		}
	}
	return true;
}

static void
on_keys(void *context, const struct redis_reply *reply, void *argument)
{
	struct purging *purging = argument;

	(void)context;
	purging->unanswered--;
	if (!is_page(reply)) {
		purging->purge->failed = true;
		finish_if_over(purging);
		return;
	}
	buf_clear(&purging->cursor);
	buf_append(&purging->cursor, bytes_make(reply->base.element[0]->str, reply->base.element[0]->len));
	purging->last = bytes_equal_text(buf_bytes(&purging->cursor), "0");
	unlink_keys(purging, reply->base.element[1]);
	if (!purging->last && !purging->purge->failed) {
		(void)scan(purging);
	}
	finish_if_over(purging);
}

bool
purge_start(struct redis_connection *connection, const struct redis_settings *settings, struct cache_purge *purge)
{
	struct purging *purging = calloc(1, sizeof(*purging));

	if (purging == NULL) {
		return false;
	}
	purging->connection = connection;
	purging->settings = settings;
	purging->purge = purge;
	purge->failed = false;
	buf_init(&purging->command, COMMAND_MAX);
	buf_init(&purging->cursor, 64);
	buf_text(&purging->cursor, "0");
	if (!scan(purging)) {
		buf_fini(&purging->command);
		buf_fini(&purging->cursor);
		free(purging);
		return false;
	}
	return true;
}
