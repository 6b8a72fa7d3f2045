/*
 * An HTTP/1.1 client (RFC 9112) to one server, on one loop: calls over connections that are kept for the next call.
 * Each connection carries one call at a time. Everything happens on the loop's thread.
 */
#ifndef HIPPOCAMP_UPSTREAM_HTTP_CLIENT_H
#define HIPPOCAMP_UPSTREAM_HTTP_CLIENT_H

#include "base/bytes.h"
#include "loop/loop.h"
#include "upstream/dial.h"
#include "wire/http1.h"

struct http_client;
struct http_connection;

enum http_outcome {
	HTTP_CALL_DONE,	     /* the response is complete */
	HTTP_CALL_UNSENT,    /* the server was not reached: it cannot have begun the request */
	HTTP_CALL_REFUSED,   /* of transcoder.h: the server was reached, and has not begun it */
	HTTP_CALL_BROKEN,    /* the connection ended, or what came is no response */
	HTTP_CALL_TIMED_OUT, /* the server was silent for timeout_s */
};

/* What a gateway says where a call has not ended with HTTP_CALL_DONE (RFC 9110 section 15.6). */
int http_outcome_status(enum http_outcome outcome);

/*
 * One request and its response. The caller owns it and all that it points to, from http_client_start until `done` or
 * http_call_cancel.
 */
struct http_call {
	struct bytes head; /* from the request line to the empty line */
	const struct bytes *body;
	size_t body_count;
	size_t missing;	    /* bytes at the body's end that are not there yet: see http_call_more */
	bool bodiless;	    /* a HEAD request */
	bool repeatable;    /* may be sent again where a kept connection ended before its response began */
	unsigned timeout_s; /* of the server's silence; 0: none */

	/* Called once, before on_body. The views in `head` are valid during the call. May cancel the call. */
	void (*on_head)(struct http_call *call, const struct http1_head *head);
	/*
	 * Called with each part of the body as it comes. Returns false to get no more until http_call_resume. May
	 * cancel the call.
	 */
	bool (*on_body)(struct http_call *call, struct bytes part);
	/* Called when something has come of a response that is not given yet. NULL: nobody wants to know. */
	void (*heard)(struct http_call *call);
	/*
	 * Called once, as the last, never before http_client_start has returned. `why` is for messages; NULL for
	 * HTTP_CALL_DONE. May start other calls.
	 */
	void (*done)(struct http_call *call, enum http_outcome outcome, const char *why);

	/* Read only, from on_head on: the response is one of transcoder.h's own, and the server was not asked. */
	bool is_own;
	/* Read only: the request or the response is being transcoded: the server is not silent. */
	bool is_working;

	/* Internal. */
	struct http_connection *connection;
	struct transcoded_call *transcoded;
};

/* `options` and what they point to outlive the client. */
struct http_client *http_client_new(struct loop *loop, const struct dial_options *options);

/* Closes all connections. No call may be under way. */
void http_client_free(struct http_client *client);

/*
 * How many kept connections the server has ended without saying so in a response (by "Connection: close"): as when it
 * was restarted.
 */
size_t http_client_losses(const struct http_client *client);

void http_client_start(struct http_client *client, struct http_call *call);

/* Ends a call whose response nobody wants, without `done`. Its connection is closed. */
void http_call_cancel(struct http_call *call);

/* `count` more bytes of the body are there. Calls nothing back. */
void http_call_more(struct http_call *call, size_t count);

/* Goes on after on_body returned false. Not within on_body. */
void http_call_resume(struct http_call *call);

#endif
