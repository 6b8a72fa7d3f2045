/*
 * The user and the password that the connections of one lane log in with. Each connection asks anew, so that a password
 * that was changed, or a token that lives for minutes, is the one of today.
 *
 * The password comes from `password_command` where that is given, else from `password_file`, else it is `password`. The
 * command is a path without arguments; it is run without a shell, its standard input is empty, its environment is the
 * server's, and what it says on standard error, which may be about the password, is not kept. Of a file and of a
 * command's output the first line counts. The lane's thread never waits: connections that ask while the command runs
 * share that run, those of other lanes too, and what came of it is used for one second more.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_CREDENTIALS_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_CREDENTIALS_H

#include "caches/cache.h"
#include "caches/redis/connection/password_share.h"

#include <sys/queue.h>

struct redis_credentials;

/* NULL and "" mean: not given. */
struct redis_credentials_options {
	const char *user;
	const char *password;
	const char *password_file;
	const char *password_command;
	uint64_t timeout_ms;	      /* a command that runs for longer is killed, with what it started */
	struct password_share *share; /* of all lanes; NULL: this one is alone */
};

/* The asker's, from redis_credentials_get to `done`, which is called exactly once unless the wish is forgotten. */
struct redis_credentials_wish {
	/*
	 * `user` NULL: none is given; `password` "": none is needed; `password` NULL: there is none, `failure` says why
	 * and what to look at. Valid during the call, which neither asks again nor frees the credentials.
	 */
	void (*done)(void *argument, const char *user, const char *password, const char *failure);
	void *argument;
	TAILQ_ENTRY(redis_credentials_wish) queue; /* from here on the credentials' */
	bool waiting;
};

/* Copies `options`; `host` outlives it. NULL: no memory. */
struct redis_credentials *redis_credentials_new(const struct redis_credentials_options *options,
						const struct cache_host *host);
/* Ends a command that runs; wishes that wait are not answered any more. */
void redis_credentials_free(struct redis_credentials *credentials);

/* `done` may be called before this returns. */
void redis_credentials_get(struct redis_credentials *credentials, struct redis_credentials_wish *wish);
/* Not answered any more; may be called at any time. */
void redis_credentials_forget(struct redis_credentials *credentials, struct redis_credentials_wish *wish);

#endif
