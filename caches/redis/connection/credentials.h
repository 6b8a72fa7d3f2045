/*
 * The user and the password with which the connections of one lane log in. Each connection asks again, so that a
 * changed password, or a token that lives for minutes, is up to date.
 *
 * The password comes from `password_command` if that is given, else from `password_file`, else it is `password`. The
 * command is a path without arguments. It runs without a shell, with an empty standard input and this process's
 * environment; its standard error, which may reveal the password, is discarded. Only the first line of the file, or of
 * the command's output, counts. The lane's thread does not wait for the command: connections that ask while it runs,
 * also those of other lanes, share the run, and its result is used for about one second more.
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
	uint64_t timeout_ms;	      /* a command that runs longer is killed, with its process group */
	struct password_share *share; /* shared by all lanes; NULL: not shared */
};

/*
 * A request for credentials. The caller owns it and keeps it from redis_credentials_get to `done`, which is called
 * exactly once unless the wish is forgotten.
 */
struct redis_credentials_wish {
	/*
	 * `user` NULL: not given. `password` "": none is needed; NULL: there is none, and `failure` says why and what
	 * to check. The texts are valid during the call, which must neither call redis_credentials_get nor free the
	 * credentials.
	 */
	void (*done)(void *argument, const char *user, const char *password, const char *failure);
	void *argument;
	TAILQ_ENTRY(redis_credentials_wish) queue; /* private to credentials.c, as is what follows */
	bool waiting;
};

/* Copies `options`; `host` and `options->share` must outlive the credentials. Returns NULL if memory runs out. */
struct redis_credentials *redis_credentials_new(const struct redis_credentials_options *options,
						const struct cache_host *host);
/* Kills a running command; waiting wishes are not answered any more. */
void redis_credentials_free(struct redis_credentials *credentials);

/* `done` may be called before this returns. */
void redis_credentials_get(struct redis_credentials *credentials, struct redis_credentials_wish *wish);
/* Cancels a wish, which is then not answered; may be called at any time. */
void redis_credentials_forget(struct redis_credentials *credentials, struct redis_credentials_wish *wish);

#endif
