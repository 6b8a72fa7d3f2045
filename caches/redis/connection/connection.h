/*
 * One connection to one server, from the resolving of its name to its end: resolve, connect, TLS, log in, then
 * pipelined commands. It is not made again; whoever wants another one makes it.
 *
 * Everything happens on the lane's thread. A connection may outlive the call that frees it, while a name is being
 * resolved or from inside its own callbacks, but calls nobody any more.
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
 * Of a lane. While it is held, commands are not written, so that those that belong together are: the ones of a look-up,
 * and those that a batch of answers brings about. A connection on which nothing is under way is then written to at
 * once, which saves waiting for the loop's next turn; where answers are due anyway, that turn writes for all that come
 * in this.
 */
struct redis_cork {
	unsigned held;
	bool answers; /* … while they are handed out */
	TAILQ_HEAD(, redis_connection) due;
};

/* Undoes one `held++`. Calls nobody back. */
void redis_cork_release(struct redis_cork *cork);

struct redis_connection_options {
	const struct redis_settings *settings; /* outlives the connection, as all pointers here do */
	const struct cache_host *host;
	struct redis_tls *tls;		   /* NULL: plain */
	struct redis_tls_session *session; /* NULL: none to resume */
	struct redis_credentials *credentials;
	struct redis_cork *cork;
	struct redis_address address;
	unsigned attempt;  /* which of a name's several addresses, counted round */
	bool sentinel;	   /* no data is kept there: no database, no keys */
	bool read_only;	   /* to a cluster's node that may be a replica */
	unsigned plain;	   /* what is left out of the log-in; see struct redis_node */
	counter *refusals; /* at log-in, by enum redis_refusal; NULL: not counted */
	void *context;
	/* Logged in, and found to serve. */
	void (*ready)(void *context, const struct redis_greeting *greeting);
	/* It ended, or never came to be; its last call. All its requests have been answered. */
	void (*lost)(void *context, const char *why);
	/* A subscribed message, or a push such as an invalidation. May be NULL. Must not free the connection. */
	void (*pushed)(void *context, const struct redis_reply *reply);
};

/* NULL without memory. Never calls back before it returns. */
struct redis_connection *redis_connection_new(const struct redis_connection_options *options);

/* Its requests are answered with NULL, now or when the callback that this is called from returns. `lost` is not called.
 */
void redis_connection_free(struct redis_connection *connection);

/* Gives the connection up, because of `why`; `lost` follows, perhaps before this returns. */
void redis_connection_fail(struct redis_connection *connection, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Sends commands in RESP; `text` holds one. False if it could not be; then `done` is not called. */
bool redis_connection_send(struct redis_connection *connection, struct redis_request *request, struct bytes text);

/* From now on messages of this channel are pushed. */
bool redis_connection_subscribe(struct redis_connection *connection, const char *channel);

/* How long the oldest command has been waiting for its answer. */
uint64_t redis_connection_waited_ms(const struct redis_connection *connection);

/* Takes what has arrived; requests are answered from inside. Not from a callback of this connection. */
void redis_connection_catch_up(struct redis_connection *connection);

#endif
