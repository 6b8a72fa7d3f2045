/*
 * What came of the last run of password_command, for all lanes of a store: one runs it at a time, and the others take
 * what it gave. A token service counts its requests, and a program may cost half a second of processor. Any thread.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_PASSWORD_SHARE_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_PASSWORD_SHARE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PASSWORD_MAX ((size_t)65536)
#define PASSWORD_FAILURE_SIZE 512

struct password_share {
	pthread_mutex_t lock;
	bool running;			     /* somebody runs it */
	uint64_t came_ns;		     /* when the result came; 0: there is none */
	char failure[PASSWORD_FAILURE_SIZE]; /* why there is no password; empty: there is */
	char text[PASSWORD_MAX + 1];
};

struct password_share *password_share_new(void); /* NULL without memory */
void password_share_free(struct password_share *share);

enum password_share_turn {
	PASSWORD_SHARE_RESULT, /* `text` and `failure` are filled */
	PASSWORD_SHARE_WAIT,   /* somebody else runs it: ask again soon */
	PASSWORD_SHARE_RUN,    /* it is the caller's to run it, and to call password_share_end */
};

/* A result of up to `fresh_ns` before counts. `text` has room for PASSWORD_MAX + 1, `failure` for its size. */
enum password_share_turn password_share_take(struct password_share *share, uint64_t now_ns, uint64_t fresh_ns,
					     char *text, char *failure);

/* What came of the run; both NULL: nothing, and another may run it. */
void password_share_end(struct password_share *share, uint64_t now_ns, const char *text, const char *failure);

#endif
