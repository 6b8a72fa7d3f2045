/*
 * Opens a connection to a server: resolves its name, begins to connect, and prepares TLS. On one loop's thread.
 */
#ifndef HIPPOCAMP_UPSTREAM_DIAL_H
#define HIPPOCAMP_UPSTREAM_DIAL_H

#include "loop/loop.h"
#include "loop/tls_client.h"
#include "upstream/url.h"

struct dial;

/* How a server is reached. */
struct dial_options {
	const struct upstream_url *url;
	struct tls_client *tls;	    /* for a `url` that asks for it */
	unsigned connect_timeout_s; /* the client's to observe: a dial has no limit */
};

/*
 * Called once, never before dial_start has returned. The callee takes over both: a socket that becomes writable when it
 * is connected or has failed (SO_ERROR), and the state of TLS, NULL for a plain connection. Or `fd` is -1, and
 * `failure` says why.
 */
typedef void (*dial_fn)(void *argument, int fd, SSL *ssl, const char *failure);

/* `options` and what they point to outlive the dial. Of several addresses, `attempt` chooses one. */
struct dial *dial_start(struct loop *loop, const struct dial_options *options, unsigned attempt, dial_fn done,
			void *argument);

/* Ends it without `done`. Not after `done`. */
void dial_cancel(struct dial *dial);

/* Once the socket is writable: returns 0 if it is connected, else the number of the error. */
int dial_outcome(int fd);

#endif
