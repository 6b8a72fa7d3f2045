/*
 * One request and its reply on a connection. Room-private.
 *
 * A handler gets an exchange and answers it exactly once, with one of the reply functions, at once or later on the same
 * loop. What a reply points to (arena, text, blobs it was given) lives until it is written.
 */
#ifndef HIPPOCAMP_SERVER_EXCHANGE_H
#define HIPPOCAMP_SERVER_EXCHANGE_H

#include "base/arena.h"
#include "base/blob.h"
#include "server/server.h"
#include "wire/compress.h"
#include "wire/http1.h"

struct connection;

/* A loop's part of the server. */
struct server_lane {
	struct server *server;
	struct loop *loop;
	size_t index;
	struct engine_lane *engine;
	struct repository_view view;
	struct loop_watch *http_watch;
	struct loop_watch *metrics_watch;
	struct loop_timer *sweep_timer;
	TAILQ_HEAD(, connection) connections;
	unsigned ticks;	    /* seconds since the lane began */
	bool accept_failed; /* it has been said */
	bool stopping;
	void (*stopped)(void *argument); /* the last connection is gone */
	void *stopped_argument;
	void (*drained)(void *argument); /* and nothing is under way */
	void *drained_argument;
};

const struct server_options *server_options(const struct server *server);

struct exchange {
	struct connection *connection;
	struct server_lane *lane;
	const struct server_options *options;
	struct http1_request head;
	struct bytes body;	 /* as received */
	struct blob *body_block; /* the block that it lies in, or NULL */
	struct arena arena;
	struct buf text; /* for the JSON or text of the reply */
	void *state;	 /* the handler's */
	/* Called once while the handler works, if the peer closes the connection; a reply may still be made. */
	void (*gone)(struct exchange *exchange);
	void *gone_state;

	/* The reply. */
	int status;
	const char *content_type;
	struct bytes extra_headers; /* whole lines */
	const struct bytes *pieces; /* of the body */
	size_t piece_count;
	struct blob *held; /* released when the reply is written */
};

/* Which handler a path has; never NULL (unknown paths have one too). */
typedef void (*exchange_handler)(struct exchange *exchange);
exchange_handler http_route(struct exchange *exchange);
exchange_handler metrics_route(struct exchange *exchange);

/* {"error":"…"} with the HTTP status that Triton gives the code. */
void reply_error(struct exchange *exchange, const struct error *error);
void reply_error_text(struct exchange *exchange, enum status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void reply_http_error(struct exchange *exchange, int http_status, const char *text);

/* What was written into exchange->text. */
void reply_text(struct exchange *exchange, const char *content_type);

/* 200 or 400 and no body. */
void reply_bare(struct exchange *exchange, bool good, const char *content_type);

/* The body is `pieces`, which live in the arena or in `held`. */
void reply_pieces(struct exchange *exchange, const char *content_type, struct bytes extra_headers,
		  const struct bytes *pieces, size_t count, struct blob *held);

int reply_http_status(enum status status);

#endif
