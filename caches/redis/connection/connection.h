/*
 * One connection to one server: resolve its name, connect, TLS, log in, then pipelined commands, end. A connection is
 * not reopened; the caller makes a new one.
 *
 * Everything happens on the lane's thread. A connection that is freed while a name is being resolved, or from inside
 * its own callbacks, lives on for a while but calls `ready`, `lost` and `pushed` no more.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_CONNECTION_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_CONNECTION_H

#include "base/metric.h"
#include "caches/cache.h"
#include "caches/redis/connection/address.h"
#include "caches/redis/connection/credentials.h"
#include "caches/redis/connection/login.h"
#include "caches/redis/connection/reply.h"
#include "caches/redis/connection/settings.h"
#include "caches/redis/connection/tls.h"

#include <sys/queue.h>

struct redis_connection;

/*
 * One per lane. While it is held, commands are not written, so that commands that belong together are written together:
 * those of a look-up, or those that a batch of answers causes. On release, a connection with no command in flight is
 * written to at once, which saves waiting for the next turn of the loop, and so are all after a batch of answers. The
 * others are written to in the next turn, with all commands that come in this one.
 */
struct redis_cork {
	unsigned held;
	bool answers; /* held while answers are handed out */
	TAILQ_HEAD(, redis_connection) due;
};

/* Undoes one `held++`. Makes no callbacks. */
void redis_cork_release(struct redis_cork *cork);

struct redis_connection_options {
	const struct redis_settings *settings; /* must outlive the connection, as must all pointers here */
	const struct cache_host *host;
	struct redis_tls *tls;		   /* NULL: plain */
	struct redis_tls_session *session; /* NULL: none to resume */
	struct redis_credentials *credentials;
	struct redis_cork *cork;
	struct redis_address address;
	unsigned attempt;  /* which of a name's addresses, modulo their number */
	bool sentinel;	   /* the server is a sentinel: no database, no keys */
	bool read_only;	   /* sends READONLY: the server may be a cluster's replica */
	unsigned plain;	   /* what to leave out of the log-in; see struct redis_node */
	counter *refusals; /* at log-in, by enum redis_refusal; NULL: not counted */
	void *context;
	/* The connection has logged in, and the server was found to serve. */
	void (*ready)(void *context, const struct redis_greeting *greeting);
	/* The connection ended or could not be opened; its last call. All its requests have been answered. */
	void (*lost)(void *context, const char *why);
	/* A subscribed message, or a push such as an invalidation. May be NULL. Must not free the connection. */
	void (*pushed)(void *context, const struct redis_reply *reply);
};

/* Call it before any connection is made: the library prepares itself with the first one, which no two threads may make.
 */
void redis_connection_prepare(void);

/* Returns NULL if memory runs out. Makes no callback before it returns. */
struct redis_connection *redis_connection_new(const struct redis_connection_options *options);

/*
 * Frees a connection. Its requests are answered with NULL, at once or, inside a callback, when that returns. `lost` is
 * not called.
 */
void redis_connection_free(struct redis_connection *connection);

/* Closes the connection for the reason given; `lost` follows, perhaps before this returns. */
void redis_connection_fail(struct redis_connection *connection, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Queues one command in RESP, which is written when the cork is released. Returns false if it could not be queued;
 * `done` is then not called. */
bool redis_connection_send(struct redis_connection *connection, struct redis_request *request, struct bytes text);

/* Subscribes to a channel, whose messages go to `pushed`. Returns false if that could not be sent. */
bool redis_connection_subscribe(struct redis_connection *connection, const char *channel);

/* How long the oldest command has been waiting for its answer; 0: none is. */
uint64_t redis_connection_waited_ms(const struct redis_connection *connection);

/*
 * Reads what has arrived; requests are answered before this returns. Must not be called from a callback of this
 * connection.
 */
void redis_connection_catch_up(struct redis_connection *connection);

#endif
