/*
 * An HTTP/2 client (RFC 9113) to one server, on one loop: calls beside each other on one connection, whose requests and
 * responses are streams of bytes. Another connection is opened when the server takes no more calls on it: by GOAWAY, or
 * since they are as many as it allows. Calls are sent once the server has greeted (its SETTINGS have come), so that a
 * server that does not cannot have begun them. Everything happens on the loop's thread.
 */
#ifndef HIPPOCAMP_UPSTREAM_HTTP2_CLIENT_H
#define HIPPOCAMP_UPSTREAM_HTTP2_CLIENT_H

#include "base/arena.h"
#include "loop/loop.h"
#include "upstream/dial.h"
#include "wire/grpc_code.h"

#include <sys/queue.h>

struct http2_client;
struct http2_connection;

enum http2_outcome {
	HTTP2_DONE,	   /* the response is complete */
	HTTP2_UNREACHED,   /* there was no connection: the server cannot have begun the call */
	HTTP2_UNPROCESSED, /* the server says that it has not begun it (RFC 9113 section 8.7) */
	HTTP2_RESET,	   /* the server reset the stream; see error_code */
	HTTP2_BROKEN,	   /* the connection ended, or what came is no HTTP/2 */
};

/* A header field; the name is in lower case. */
struct http2_field {
	struct bytes name;
	struct bytes value;
};

/* The value of the first field of that name, or a view with `at` NULL. */
static inline struct bytes
http2_field_find(const struct http2_field *fields, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes_equal_text(fields[i].name, name)) {
			return fields[i].value;
		}
	}
	return bytes_make(NULL, 0);
}

/* Of gRPC: sets *code to what grpc-status says; one that is there twice is GRPC_INTERNAL. False: there is none. */
static inline bool
http2_field_status(const struct http2_field *fields, size_t count, enum grpc_code *code)
{
	bool found = false;

	for (size_t i = 0; i < count; i++) {
		if (bytes_equal_text(fields[i].name, "grpc-status")) {
			*code = found ? GRPC_INTERNAL : grpc_status_read(fields[i].value);
			found = true;
		}
	}
	return found;
}

/* A part of a request's body, in memory of the caller's. `released` is called once the call does not need it. */
struct http2_piece {
	struct bytes bytes;
	void (*released)(struct http2_piece *piece);
	STAILQ_ENTRY(http2_piece) entry; /* internal */
};

/*
 * One request and its response. The caller owns it, from http2_client_start until `done` or http2_call_cancel. The
 * functions are called on the loop, not within functions of this header; within them, all of these functions may be
 * called.
 */
struct http2_call {
	const struct http2_field *fields; /* all of the request but :scheme and :authority; they outlive the call */
	size_t field_count;
	/*
	 * The first pieces stay after they have been sent, until more than `kept` have been: so long the call can be
	 * sent again. The client itself does so where a connection ended that had carried other calls before, if
	 * nothing has come of the response; `done` may, by http2_client_restart, else it calls http2_call_let_go.
	 */
	bool keeps_pieces;
	unsigned kept;
	bool repeatable; /* may be sent again although the server may have begun it */

	/* Called with the final response's head; its views are valid during the call. `ends`: it is all of it. */
	void (*on_head)(struct http2_call *call, const struct http2_field *fields, size_t count, bool ends);
	/* Called with each part of the body. The server sends more as they are consumed (http2_call_consume). */
	void (*on_body)(struct http2_call *call, struct bytes part);
	/* Called once, as the last. The trailers are valid during the call. `why` is for messages; NULL if done. */
	void (*done)(struct http2_call *call, enum http2_outcome outcome, const struct http2_field *trailers,
		     size_t count, const char *why);

	/* Read only, in `done`: of HTTP2_RESET. */
	uint32_t error_code;

	/* Internal. */
	TAILQ_ENTRY(http2_call) entry;
	struct http2_client *client;
	struct http2_connection *connection; /* NULL: done, or waits */
	bool waits;			     /* to be sent again */
	int32_t stream;			     /* 0: the connection is not ready yet */
	STAILQ_HEAD(, http2_piece) pieces;
	struct http2_piece *next; /* to be sent; NULL: none */
	size_t next_sent;	  /* bytes of it */
	unsigned sent_count;	  /* pieces */
	bool has_ended;		  /* no more pieces will come */
	bool is_deferred;	  /* nghttp2 waits for a piece */
	bool is_sent;		  /* its head, or it may have been */
	bool has_sent_end;	  /* all of it */
	bool has_head;		  /* of the response */
	struct arena arena;	  /* for the fields of the response */
	struct http2_field *received;
	size_t received_count;
	size_t received_capacity;
	size_t received_bytes;
};

/* `options` and what they point to outlive the client. */
struct http2_client *http2_client_new(struct loop *loop, const struct dial_options *options);

/* Closes all connections. No call may be under way. */
void http2_client_free(struct http2_client *client);

/*
 * How many connections have ended that had carried a response: by GOAWAY, or without a word, as when the server was
 * restarted; but those that were closed here since they were idle.
 */
size_t http2_client_losses(const struct http2_client *client);

/* Is there a connection, whose end would be noticed? */
bool http2_client_is_connected(const struct http2_client *client);

/* Sends the call's head. The caller has filled the fields that are not internal. */
void http2_client_start(struct http2_client *client, struct http2_call *call);

/* Starts a call again that is done and has kept its pieces, perhaps at another server. */
void http2_client_restart(struct http2_client *client, struct http2_call *call);

/*
 * Finds out whether the server answers: opens a connection unless there is one, and calls `done`, with the reason if it
 * could not be opened. One at a time; ends without `done` when the client is freed.
 */
typedef void (*http2_probe_fn)(void *argument, const char *failure);
void http2_client_probe(struct http2_client *client, http2_probe_fn done, void *argument);

/* Adds a piece to the body; takes it over until `released`. */
void http2_call_send(struct http2_call *call, struct http2_piece *piece);
void http2_call_end(struct http2_call *call); /* the body is complete */

/* The call is not to be sent again: sets keeps_pieces to false, and releases the pieces that are not needed. */
void http2_call_let_go(struct http2_call *call);

/* `length` bytes of what on_body got have found their place. Also after the call is done: then nothing happens. */
void http2_call_consume(struct http2_call *call, size_t length);

/* Ends a call that nobody waits for, without `done`: its stream is reset. */
void http2_call_cancel(struct http2_call *call);

#endif
