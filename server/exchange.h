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
#include "base/budget.h"
#include "loop/offload.h"
#include "server/server.h"
#include "wire/compress.h"
#include "wire/http1.h"

struct connection;
struct exchange;

/* Finds what answers for the path and the method of a head; never fails (unknown paths have a handler too). */
typedef void (*exchange_router)(struct exchange *exchange);
typedef void (*exchange_handler)(struct exchange *exchange);

enum cache_admin { CACHE_ADMIN_CLOSED, CACHE_ADMIN_LOOPBACK, CACHE_ADMIN_OPEN };

/* What all connections of a listening port have in common. */
struct server_port {
	exchange_router route;
	bool is_metrics;     /* GET /v2/cache is a page of figures there */
	const char *address; /* as configured */
	enum cache_admin cache_admin;
};

/* A loop's part of the server. */
struct server_lane {
	struct server *server;
	const struct server_options *options;
	struct budget *budget; /* of request bodies in flight */
	struct offload *offload;
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

struct exchange {
	struct connection *connection;
	struct server_lane *lane;
	const struct server_options *options;
	const struct server_port *port;
	struct http1_request head;

	/* Set by the router. */
	exchange_handler handler;
	/*
	 * Asked before a body is read that has not come already: false where reading it would be in vain, and the
	 * exchange is answered. NULL: any body is welcome.
	 */
	bool (*admit)(struct exchange *exchange);
	size_t body_limit;  /* of JSON and raw bodies */
	bool takes_tensors; /* a body may be longer than its JSON */
	unsigned methods;   /* that the path knows, a mask */

	struct bytes body;	  /* as received */
	struct blob *body_block;  /* the block that it lies in, or NULL */
	size_t charged;		  /* against the budget */
	struct offload_work work; /* see exchange_work */
	void (*work_run)(struct exchange *exchange);
	void (*work_done)(struct exchange *exchange);
	void *work_state; /* the handler's, for its work */
	struct arena arena;
	size_t text_max; /* of `text` */
	struct buf text; /* for the JSON or text of the reply */
	void *state;	 /* the handler's */
	/* Called once while the handler works, if the peer closes the connection; a reply may still be made. */
	void (*gone)(struct exchange *exchange);
	void *gone_state;
	bool is_left; /* the client sends no more, so that perhaps nobody waits for the answer */

	/* The reply, and what to call once it is filled: it is written then, or after the handler that we are in. */
	void (*send)(struct exchange *exchange);
	int status;
	const char *content_type;
	struct bytes extra_headers; /* whole lines */
	const struct bytes *pieces; /* of the body */
	size_t piece_count;
	struct blob *held; /* released when the reply is written */
};

void http_route(struct exchange *exchange);
void metrics_route(struct exchange *exchange);

/* Counts bytes that the request takes until it is answered against the budget; false where that is used up. */
bool exchange_charge(struct exchange *exchange, size_t bytes);
void exchange_discharge(struct exchange *exchange, size_t bytes);

/*
 * For what takes longer than a loop may be kept (about EXCHANGE_LONG bytes of JSON, or anything packed): `run` is
 * called on a worker's thread, then `done` on the loop. Nobody else touches the exchange meanwhile. `size` says how
 * much it is.
 */
#define EXCHANGE_LONG ((size_t)64 * 1024)
void exchange_work(struct exchange *exchange, size_t size, void (*run)(struct exchange *exchange),
		   void (*done)(struct exchange *exchange));

/* {"error":"…"} with the HTTP status that Triton gives the code. */
void reply_error(struct exchange *exchange, const struct error *error);
void reply_error_text(struct exchange *exchange, enum status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void reply_http_error(struct exchange *exchange, int http_status, const char *text);
void reply_http_error_with(struct exchange *exchange, int http_status, const char *text, struct bytes extra_headers);

/* The methods that the path knows: the answer to OPTIONS, and to a method that it does not know. */
void reply_options(struct exchange *exchange);
void reply_wrong_method(struct exchange *exchange);

/* What was written into exchange->text. */
void reply_text(struct exchange *exchange, const char *content_type);

/* 200 or 400 and no body. */
void reply_bare(struct exchange *exchange, bool good, const char *content_type);

/* The body is `pieces`, which live in the arena or in `held`. */
void reply_pieces(struct exchange *exchange, const char *content_type, struct bytes extra_headers,
		  const struct bytes *pieces, size_t count, struct blob *held);

int reply_http_status(enum status status);

#endif
