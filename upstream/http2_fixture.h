/*
 * For unit tests: a server of HTTP/2 on a port of 127.0.0.1, in the test's own loop. It plays the next step of its
 * script for each call, once the call's request is complete.
 */
#ifndef HIPPOCAMP_UPSTREAM_HTTP2_FIXTURE_H
#define HIPPOCAMP_UPSTREAM_HTTP2_FIXTURE_H

#include "base/buf.h"
#include "loop/loop.h"

enum http2_action {
	HTTP2_ANSWER,	    /* a head, the body of the request and `code` more bytes, and trailers */
	HTTP2_TRAILERS,	    /* trailers alone */
	HTTP2_EARLY,	    /* the same, before the request is complete */
	HTTP2_RESET_STREAM, /* RST_STREAM with `code` */
	HTTP2_HEAD_AND_RESET,
	HTTP2_GO_AWAY,		  /* GOAWAY that names no call as processed, then the end */
	HTTP2_GO_AWAY_AND_ANSWER, /* GOAWAY that names it as processed, then an answer */
	HTTP2_CLOSE,
	HTTP2_SILENCE,
};

struct http2_step {
	enum http2_action action;
	uint32_t code;
};

struct http2_server;

struct http2_server *http2_server_new(struct loop *loop, const struct http2_step *steps, size_t count);

/* Each connection from now on allows so many calls at a time. */
void http2_server_limit(struct http2_server *server, unsigned calls);
void http2_server_free(struct http2_server *server);
unsigned http2_server_port(const struct http2_server *server);

/* What came so far: calls whose request is complete, connections, resets by the client, and the last request's body. */
size_t http2_server_calls(const struct http2_server *server);
size_t http2_server_connections(const struct http2_server *server);
size_t http2_server_resets(const struct http2_server *server);
struct bytes http2_server_body(const struct http2_server *server);

/* Of the last request: a field's value, or "". */
const char *http2_server_field(const struct http2_server *server, const char *name);

/* Closes all connections, as a server does that ends. */
void http2_server_hang_up(struct http2_server *server);

#endif
