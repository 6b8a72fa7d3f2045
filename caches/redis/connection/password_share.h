/*
 * The result of the last run of password_command, shared by all lanes of a store. One lane runs the command at a time
 * and the others use its result: a token service counts its requests, and a run may cost half a second of CPU time. Any
 * thread.
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
	bool running;			     /* a lane runs the command */
	uint64_t came_ns;		     /* when the result came; 0: there is none */
	char failure[PASSWORD_FAILURE_SIZE]; /* why there is no password; empty: there is one */
	char text[PASSWORD_MAX + 1];
};

struct password_share *password_share_new(void); /* NULL if memory runs out */
void password_share_free(struct password_share *share);

enum password_share_turn {
	PASSWORD_SHARE_RESULT, /* `text` and `failure` are filled */
	PASSWORD_SHARE_WAIT,   /* another lane runs the command: ask again soon */
	PASSWORD_SHARE_RUN,    /* the caller must run it and call password_share_end */
};

/*
 * A result counts if it is at most `fresh_ns` old. `text` has room for PASSWORD_MAX + 1 bytes, `failure` for
 * PASSWORD_FAILURE_SIZE.
 */
enum password_share_turn password_share_take(struct password_share *share, uint64_t now_ns, uint64_t fresh_ns,
					     char *text, char *failure);

/* Reports the result of the run. Both NULL: there is none, and another lane may run the command. */
void password_share_end(struct password_share *share, uint64_t now_ns, const char *text, const char *failure);

#endif
