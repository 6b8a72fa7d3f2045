/*
 * Logging in: HELLO 3 with the user's name and password, or, where the server does not know it, AUTH; the connection's
 * name, the database, and a first question that shows whether the server serves. Belongs to one connection.
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

/* A command on its way; the caller's, until `done` is called. */
struct redis_request {
	TAILQ_ENTRY(redis_request) queue;
	struct redis_connection *connection;
	uint64_t sent_ns;
	/* Exactly once. The reply is valid during the call; NULL where the connection was lost first. */
	void (*done)(struct redis_request *request, const struct redis_reply *reply);
};

/* What a server says of itself at log-in. */
struct redis_greeting {
	bool resp3;
	bool cluster;
	bool replica;
	bool valkey;	  /* else Redis, or whoever takes its name */
	unsigned version; /* 100 * major + minor; 0: not known */
	char zone[64];	  /* availability zone, if asked for */
};

struct redis_login_options {
	const struct redis_settings *settings;
	bool sentinel;
	bool read_only;
	unsigned plain;	   /* by 1 no HELLO, by 2 no CLIENT either, for servers that hang up at them */
	counter *refusals; /* by enum redis_refusal; NULL: not counted */
	struct redis_connection *connection;
	bool (*send)(struct redis_connection *connection, struct redis_request *request, struct bytes text);
	/* One of the two, once. */
	void (*done)(struct redis_connection *connection, const struct redis_greeting *greeting);
	void (*failed)(struct redis_connection *connection, const char *why);
};

struct redis_login *redis_login_new(const struct redis_login_options *options);
void redis_login_free(struct redis_login *login); /* after its requests are answered */

/* What is to be said; "" or NULL: nothing. False without memory. */
bool redis_login_credentials(struct redis_login *login, const char *user, const char *password);

void redis_login_start(struct redis_login *login);

#endif
