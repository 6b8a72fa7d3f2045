/*
 * One connection of one lane: resolve, connect, log in, learn the shared secret, then pipelined commands; when it is
 * lost or stalls, the same again after a back-off with jitter.
 *
 * Everything happens on the lane's thread. A connection outlives its lane only for as long as a name is being resolved.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_H

#include "caches/cache.h"
#include "caches/redis/reply.h"
#include "caches/redis/settings.h"

struct redis_connection;

struct redis_connection_options {
	const struct redis_settings *settings; /* outlives the connection */
	const struct cache_host *host;
	bool secret_wanted;
	bool announces; /* log changes of state; one connection of all does */
	void *context;
	/* Logged in and usable; `secret` is what Redis holds, 32 bytes, or empty where none is wanted. */
	void (*ready)(void *context, struct bytes secret);
	void (*secret_changed)(void *context, struct bytes secret);
	void (*lost)(void *context);
};

struct redis_connection *redis_connection_new(const struct redis_connection_options *options);
void redis_connection_free(struct redis_connection *connection);

/* Gives the connection up, because of `why`, and makes it again. */
void redis_connection_reset(struct redis_connection *connection, const char *why);

/* Logged in, and no answer is overdue by more than wait_timeout. */
bool redis_connection_usable(const struct redis_connection *connection);

/*
 * Sends a command in RESP. `done` is called exactly once, never before this returns, with the reply (valid during the
 * call) or NULL where the connection was lost first. False if it could not be sent; then `done` is not called.
 */
typedef void (*redis_reply_fn)(void *context, const struct redis_reply *reply, void *argument);
bool redis_connection_send(struct redis_connection *connection, struct bytes command, redis_reply_fn done,
			   void *argument);

#endif
