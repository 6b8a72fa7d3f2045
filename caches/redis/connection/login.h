/*
 * Logging in: HELLO 3 with the user's name and password, or AUTH if the server does not know HELLO; then the
 * connection's name, the database, and a first query that shows whether the server serves. Belongs to one connection.
 *
 * https://redis.io/docs/latest/commands/hello/ and client-setinfo/
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_LOGIN_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_LOGIN_H

#include "base/metric.h"
#include "caches/redis/connection/reply.h"
#include "caches/redis/connection/settings.h"

#include <sys/queue.h>

struct redis_connection;
struct redis_login;

/* A command in flight. The caller owns it and keeps it until `done` is called. */
struct redis_request {
	TAILQ_ENTRY(redis_request) queue;
	struct redis_connection *connection;
	uint64_t sent_ns;
	/* Called exactly once. The reply is valid during the call; NULL: the connection was lost first. */
	void (*done)(struct redis_request *request, const struct redis_reply *reply);
};

/* What a server says of itself at log-in. */
struct redis_greeting {
	bool resp3;
	bool cluster;
	bool replica;
	bool valkey;	  /* else Redis, or a server that claims to be it */
	unsigned version; /* 100 * major + minor; 0: not known */
	char zone[64];	  /* availability zone, if asked for */
};

struct redis_login_options {
	const struct redis_settings *settings;
	bool sentinel;
	bool read_only;
	unsigned plain;	   /* 1: no HELLO; 2: no CLIENT and INFO either, for servers that hang up on them */
	counter *refusals; /* by enum redis_refusal; NULL: not counted */
	struct redis_connection *connection;
	bool (*send)(struct redis_connection *connection, struct redis_request *request, struct bytes text);
	/* At most one of the two is called, once. */
	void (*done)(struct redis_connection *connection, const struct redis_greeting *greeting);
	void (*failed)(struct redis_connection *connection, const char *why);
};

struct redis_login *redis_login_new(const struct redis_login_options *options);
void redis_login_free(struct redis_login *login); /* after its requests are answered */

/* Sets the credentials. `user` NULL or "", `password` "": none. Returns false if memory runs out. */
bool redis_login_credentials(struct redis_login *login, const char *user, const char *password);

void redis_login_start(struct redis_login *login);

#endif
