/*
 * An exchange: one request and its reply on a connection. Room-private.
 *
 * A handler calls exactly one reply function, once, either before it returns or later on the same loop. Everything that
 * the reply points to (arena, `text`, `held`) lives until the reply is written.
 */
#ifndef HIPPOCAMP_SERVER_EXCHANGE_H
#define HIPPOCAMP_SERVER_EXCHANGE_H

#include "base/arena.h"
#include "base/blob.h"
#include "base/budget.h"
#include "loop/offload.h"
#include "loop/tls_server.h"
#include "server/pass_reason.h"
#include "server/server.h"
#include "upstream/work_options.h"
#include "wire/compress.h"
#include "wire/http1.h"

struct connection;
struct exchange;
struct grpc_inference;
struct control;
struct grpc_control;
struct health_watch;
struct upstream_lane;
struct grpc_upstream_lane;

/* Sets the exchange's handler by the path and method of its head. Never fails: unknown paths have a handler too. */
typedef void (*exchange_router)(struct exchange *exchange);
typedef void (*exchange_handler)(struct exchange *exchange);

enum cache_admin { CACHE_ADMIN_CLOSED, CACHE_ADMIN_LOOPBACK, CACHE_ADMIN_OPEN };

/* What all connections of a listening port share. */
struct server_port {
	exchange_router route;
	bool is_metrics;     /* GET /v2/cache needs access_cache_view only */
	const char *address; /* as configured */
	enum cache_admin cache_admin;
	struct tls_server *tls; /* NULL: the port is plain */
};

/* The part of the server that belongs to one loop. */
struct server_lane {
	struct server *server;
	const struct server_options *options;
	struct budget *budget; /* for request bodies in flight, shared by all lanes */
	struct offload *offload;
	struct loop *loop;
	size_t index;
	struct engine_lane *engine;
	struct upstream_lane *upstream;		  /* NULL: the models are our own */
	struct grpc_upstream_lane *grpc_upstream; /* NULL: so they are, or gRPC is off */
	struct work_options work;		  /* of `upstream` */
	struct pass_counts *passes;		  /* shared by all lanes */
	void *remote;				  /* what remote_ops->open has made; NULL: nothing */
	struct repository_view view;
	struct loop_watch *http_watch;
	struct loop_watch *metrics_watch;
	struct loop_watch *grpc_watch;
	struct grpc_lane *grpc; /* NULL: gRPC is off */
	/* Loads and unloads behind whose clients have left, over gRPC and over HTTP: see front_abandon_control. */
	TAILQ_HEAD(, grpc_control) abandoned;
	TAILQ_HEAD(, control) abandoned_http;
	size_t abandoned_count;
	struct grpc_inference *spare_inferences;
	size_t spare_inference_count;
	TAILQ_HEAD(, health_watch) health_watches;
	struct loop_timer *sweep_timer;
	struct infer_memo *infer_memo;
	struct history *history; /* of the server, which the lane with index 0 fills */
	TAILQ_HEAD(, connection) connections;
	size_t incomplete_bodies; /* that handlers have: see struct exchange */
	unsigned ticks;		  /* seconds since the lane was made */
	bool accept_failed;	  /* the failure has been logged */
	bool stopping;
	void (*stopped)(struct server_lane *lane); /* called when the last HTTP connection is closed */
	size_t users; /* HTTP and gRPC, until the lane stops and their connections are gone; and work that may outlive
			 them */
	void (*drained)(void *argument); /* called once the engine is idle, too */
	void *drained_argument;
};

struct exchange {
	struct connection *connection;
	struct server_lane *lane;
	const struct server_options *options;
	const struct server_port *port;
	struct http1_head head;

	/* Set by the router. */
	exchange_handler handler;
	/*
	 * Called before a body is read that is chunked or does not fit into the buffer. False: the exchange has been
	 * answered without the body. NULL: every body is read.
	 */
	bool (*admit)(struct exchange *exchange);
	size_t body_limit;  /* bytes of JSON, or of a raw body; SIZE_MAX: only the budget counts */
	bool takes_tensors; /* tensors may follow the JSON */
	unsigned methods;   /* that the path accepts: a mask of http1_method */
	/*
	 * May the handler begin before the whole body is there (see `missing`)? Called once `body` has its length.
	 * NULL: it may not.
	 */
	bool (*takes_parts)(struct exchange *exchange);

	struct bytes body; /* as received */
	/*
	 * Bytes at the body's end that are not there yet. `more`, if it is set, is called when `count` of them have
	 * come. If they do not come, or there is no room for them, `gone` is called, and `lost` is what to reply,
	 * during that call.
	 */
	size_t missing;
	void (*more)(struct exchange *exchange, size_t count);
	struct {
		int status; /* 0: the peer has left */
		const char *text;
	} lost;
	struct blob *body_block;  /* the block that holds the body, or NULL */
	size_t charged;		  /* bytes taken from the budget */
	struct offload_work work; /* see exchange_work */
	void (*work_run)(struct exchange *exchange);
	void (*work_done)(struct exchange *exchange);
	void *work_state; /* the handler's own, offloaded or not; of handle_infer: its struct inference */
	struct arena arena;
	size_t text_max; /* the maximum of `text`, bytes */
	struct buf text; /* for the JSON or text of the reply */
	void *path;	 /* the router's struct path */
	/* Called once if the peer closes the connection before the reply; the handler must still reply. */
	void (*gone)(struct exchange *exchange);
	void *gone_state;
	enum pass_reason pass_reason; /* of handle_pass */
	bool is_left;		      /* the peer has closed its side and may not read the reply */
	/* Of a reply in parts: called when exchange_stream, which returned false, may be called again. */
	void (*drained)(struct exchange *exchange);

	/*
	 * The reply. Call `send` once it is filled: the reply is written when the handler returns or, if it has
	 * returned, at once; then the exchange and all in its arena may be gone when `send` returns.
	 */
	void (*send)(struct exchange *exchange);
	int status;
	const char *content_type;
	struct bytes extra_headers; /* lines, each with CRLF */
	const struct bytes *pieces; /* of the body */
	size_t piece_count;
	struct blob *held; /* released when the reply is written */
};

/* Work that may outlive its connection keeps the lane. When the lane stops, the last release drains the engine. */
void server_lane_hold(struct server_lane *lane);
void server_lane_release(struct server_lane *lane);

/* The newest model table; replaces the lane's view. */
const struct model_table *server_lane_table(struct server_lane *lane);

/* What readiness requests are answered: the repository is ready, and the server does not stop. */
bool server_lane_ready(const struct server_lane *lane);

void http_route(struct exchange *exchange);
void front_route(struct exchange *exchange); /* of HTTP's port in front of another server */
void metrics_route(struct exchange *exchange);

/* Takes bytes from the budget until the reply is written or they are discharged. False: the budget has too few left. */
bool exchange_charge(struct exchange *exchange, size_t bytes);
void exchange_discharge(struct exchange *exchange, size_t bytes);

/*
 * Moves work that would block the loop too long (more than EXCHANGE_LONG bytes of JSON, or a compressed body) to an
 * offload thread: `run` is called there, then `done` on the loop. Nothing else may use the exchange until `done`.
 * `size` is the work in bytes.
 */
#define EXCHANGE_LONG ((size_t)64 * 1024)
void exchange_work(struct exchange *exchange, size_t size, void (*run)(struct exchange *exchange),
		   void (*done)(struct exchange *exchange));

/* Replies {"error":"…"}, with the HTTP status that Triton gives for the error's code. */
void reply_error(struct exchange *exchange, const struct error *error);
void reply_error_text(struct exchange *exchange, enum status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void reply_http_error(struct exchange *exchange, int http_status, const char *text);
void reply_http_error_with(struct exchange *exchange, int http_status, const char *text, struct bytes extra_headers);

/* Reply with the path's methods in Allow: 200 to OPTIONS, 405 to a method that the path does not accept. */
void reply_options(struct exchange *exchange);
void reply_wrong_method(struct exchange *exchange);

/* Replies 200 with exchange->text as the body. */
void reply_text(struct exchange *exchange, const char *content_type);

/* Replies without a body: 200 if `good`, else 400. */
void reply_bare(struct exchange *exchange, bool good, const char *content_type);

/* Replies 200 with `pieces`, which lie in the arena, `text` or `held` (may be NULL); takes over `held`. */
void reply_pieces(struct exchange *exchange, const char *content_type, struct bytes extra_headers,
		  const struct bytes *pieces, size_t count, struct blob *held);

/*
 * A reply in parts, each sent as it comes, in place of the functions above. `fields` are all header fields but those of
 * the connection, each with CRLF; a Content-Length among them (`has_length`) says how long the parts are together.
 * exchange_stream returns false if the peer reads too slowly: then wait for exchange->drained. If the peer leaves,
 * exchange->gone is called; end the stream in it. After exchange_stream_end the exchange may be gone; if the reply is
 * not complete, the connection is closed so that the peer notices. Not before the handler has returned.
 */
void exchange_stream_begin(struct exchange *exchange, int status, struct bytes fields, bool has_length);
bool exchange_stream(struct exchange *exchange, struct bytes part);
void exchange_stream_end(struct exchange *exchange, bool complete);

int reply_http_status(enum status status);

#endif
