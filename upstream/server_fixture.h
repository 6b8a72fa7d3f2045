/*
 * For unit tests: a server on a Unix socket in the test's own loop. It takes each request as a whole (without a body,
 * or with Content-Length) and plays the next step of its script.
 */
#ifndef HIPPOCAMP_UPSTREAM_SERVER_FIXTURE_H
#define HIPPOCAMP_UPSTREAM_SERVER_FIXTURE_H

#include "base/buf.h"
#include "loop/loop.h"

struct scripted_step {
	const char *reply; /* NULL: none */
	size_t length;	   /* of `reply`; 0: strlen */
	bool closes;	   /* the connection, after the reply */
	bool resets;	   /* the same, by RST */
};

struct scripted_server;

/* `steps` are played in turn; after the last one, it again. The path is in the test's folder. */
struct scripted_server *scripted_server_new(struct loop *loop, const char *path, const struct scripted_step *steps,
					    size_t count);
void scripted_server_free(struct scripted_server *server);

/* What came so far: requests, connections, and the text of the last request. */
size_t scripted_server_requests(const struct scripted_server *server);
size_t scripted_server_connections(const struct scripted_server *server);
struct bytes scripted_server_last(const struct scripted_server *server);

/* Closes all connections that are open, as an idle server does. */
void scripted_server_hang_up(struct scripted_server *server);

#endif
