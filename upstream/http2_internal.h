/*
 * What the files of the HTTP/2 client share. Room-private.
 */
#ifndef HIPPOCAMP_UPSTREAM_HTTP2_INTERNAL_H
#define HIPPOCAMP_UPSTREAM_HTTP2_INTERNAL_H

#include "base/buf.h"
#include "loop/transport.h"
#include "upstream/http2_client.h"

#include <nghttp2/nghttp2.h>

#define HTTP2_FIELDS_MAX ((size_t)64 * 1024) /* of a response's head or trailers (RFC 9113 section 6.5.2) */

#define HTTP2_CONNECTIONS_MAX 16 /* to one server: more calls than they take wait */

struct http2_client {
	const struct dial_options *options;
	struct loop *loop;
	struct loop_timer *sweep;
	struct loop_task *flush_task;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *session_options;
	TAILQ_HEAD(, http2_connection) connections; /* the oldest first */
	TAILQ_HEAD(, http2_call) again;		    /* calls to be sent again at the end of this turn */
	http2_probe_fn probed;			    /* NULL: nobody probes */
	void *probe_argument;
	bool is_busy; /* within nghttp2: its input buffer is in use */
	size_t connection_count;
	size_t losses;
	unsigned ticks;
	unsigned attempts; /* of connecting: each takes the next address */
	uint8_t *in;	   /* READ_SIZE bytes that have just been read */
};

struct http2_connection {
	TAILQ_ENTRY(http2_connection) entry;
	struct http2_client *client;
	nghttp2_session *session;
	struct dial *dial;	  /* while a name is being resolved */
	struct loop_watch *watch; /* NULL until then */
	struct transport transport;
	bool is_connecting;
	bool is_dirty; /* something may be to be sent at the end of this turn */
	bool is_over;  /* takes no more calls */
	bool is_ending;
	bool is_greeted; /* the server's SETTINGS have come */
	bool was_used;	 /* a response has come */
	bool is_counted; /* in client->losses, or it is ended here */
	int failure;	 /* the number of the error that ends it; 0: none */
	unsigned opened_tick;
	unsigned used_tick; /* when there was a call last */
	size_t call_count;
	struct buf out;
	size_t written; /* bytes of it */
	TAILQ_HEAD(, http2_call) calls;
};

/* Sends what the session has to send at the end of this turn. */
static inline void
http2_connection_touch(struct http2_connection *connection)
{
	connection->is_dirty = true;
	loop_task_set(connection->client->flush_task);
}

/* The server ends the connection. */
static inline void
http2_connection_count_loss(struct http2_connection *connection)
{
	if (connection->was_used && !connection->is_counted) {
		connection->is_counted = true;
		connection->client->losses++;
	}
}

/* Tells who probes; `failure` NULL: the server has answered. */
static inline void
http2_client_probed(struct http2_client *client, const char *failure)
{
	http2_probe_fn probed = client->probed;

	client->probed = NULL;
	if (probed != NULL) {
		probed(client->probe_argument, failure);
	}
}

/* --- http2_call.c --- */

/* Gives nghttp2 the call's head, which it copies. The connection has been greeted. */
void http2_call_submit(struct http2_call *call);

/* Takes the call off its connection. */
void http2_call_detach(struct http2_call *call);

/* Nothing of the response has come. */
void http2_call_clear(struct http2_call *call);

/* Ends a call, with what has been received as its trailers. It may be gone afterwards. */
void http2_call_finish(struct http2_call *call, enum http2_outcome outcome, const char *why);

/* Sends the call again at the end of this turn, over another connection if there is one. */
void http2_call_again(struct http2_call *call);

/* Ends a call that has failed, or has it sent again, where a kept connection ended before the server saw it. */
void http2_call_fail(struct http2_call *call, enum http2_outcome outcome, const char *why);

/* For nghttp2's data provider. */
ssize_t http2_call_read(nghttp2_session *session, int32_t stream, uint8_t *at, size_t room, uint32_t *flags,
			nghttp2_data_source *source, void *user);

/* --- http2_session.c: nghttp2's callbacks --- */

nghttp2_session_callbacks *http2_callbacks(void);
nghttp2_option *http2_session_options(void);

#endif
