/*
 * The connection's struct, shared by connection.c (life cycle, reading), connection_body.c (requests' bodies),
 * connection_write.c (replies) and connection_stream.c (replies that come in parts). Room-private.
 */
#ifndef HIPPOCAMP_SERVER_CONNECTION_INTERNAL_H
#define HIPPOCAMP_SERVER_CONNECTION_INTERNAL_H

#include "loop/transport.h"
#include "server/body.h"
#include "server/connection.h"

enum connection_state {
	READING_HEAD,
	READING_BODY, /* of known length */
	READING_CHUNKS,
	HANDLING, /* the handler has the exchange */
	WRITING,
	STREAMING, /* the handler sends the reply in parts */
	LINGERING, /* answered early; discards what the peer still sends, so that the peer reads the answer */
};

struct connection {
	TAILQ_ENTRY(connection) lane_entry;
	struct server_lane *lane;
	struct loop_watch *watch;
	const struct server_port *port;
	struct transport transport;
	enum connection_state state;
	bool in_progress; /* inside `advance`, which writes the reply */
	bool close_after;
	bool linger_after;
	unsigned active_tick; /* when the last byte was read or written */
	unsigned phase_tick;  /* when the current head, body or reply began */

	uint8_t *in; /* the message's head from in[0] on, then what follows it */
	size_t in_capacity;
	size_t in_length;
	size_t in_parsed; /* bytes parsed of an incomplete head */
	size_t head_length;
	size_t body_here; /* bytes of a body that lies in `in`, behind the head */
	struct http1_parser *parser;

	struct body body;   /* has a block if the body is chunked or does not fit into `in` */
	bool is_incomplete; /* the handler has the exchange, of whose body more is to come: into `body` */
	bool is_discarding; /* the rest of a body that nobody needs is read beside the reply, and thrown away */
	size_t discardable; /* bytes of that rest */
	size_t discarded;

	struct bytes head_out;
	char head_text[512];
	size_t written; /* of head and pieces together */
	size_t total;

	struct {
		struct buf backlog; /* what the socket has not taken yet */
		size_t flushed;	    /* of the backlog */
		bool chunked;
		bool until_close;
		bool is_broken;
		bool is_complete;	   /* only the backlog is left to send */
		bool is_held;		   /* the backlog is the head alone, which waits for the first part */
		struct loop_task *release; /* at the end of a turn: sends a head that still waits; NULL: none yet */
	} stream;

	struct exchange exchange;
};

/* Replies an error to a malformed request, or to one whose rest is not read; then ends the connection. */
void connection_refuse(struct connection *connection, int http_status, const char *text);

void connection_call_handler(struct connection *connection);

/* Behind a head: routes the exchange, and says what is to be read, by the connection's state. */
void connection_start_body(struct connection *connection);

/* In READING_BODY and READING_CHUNKS. True: go on with the new state. False: more bytes are needed. */
bool connection_read_body(struct connection *connection);
bool connection_read_chunks(struct connection *connection);

void connection_refuse_body(struct connection *connection, enum body_outcome outcome);

/* While `is_incomplete`: `count` bytes have come into `body`. False: there is no room for them; see below. */
bool connection_take_part(struct connection *connection, size_t count);

/* Ends a request whose body does not come whole. May free the connection. */
void connection_lose_body(struct connection *connection, int status, const char *text);

/* Nobody needs the rest of the body: what comes is thrown away, so that its sender gets to the reply. */
void connection_leave_body(struct connection *connection);

/* Builds the head of the exchange's reply; writes nothing yet. */
void connection_begin_reply(struct connection *connection);

/* Writes as much of the reply as the socket takes. False: the connection broke; errno says why. */
bool connection_write(struct connection *connection);

/*
 * The bytes of a stream: its head, its parts, its end (see exchange_stream_begin). What the socket does not take goes
 * into the backlog. connection_stream_part returns false while that is long. If the connection broke, `is_broken` is
 * set, and nothing more is sent. The head waits in the backlog until the end of the loop's turn, to go out with the
 * first part if that comes meanwhile.
 */
void connection_stream_head(struct connection *connection, int status, struct bytes fields, bool has_length);
bool connection_stream_part(struct connection *connection, struct bytes part);
void connection_stream_tail(struct connection *connection, bool complete);

/* Sends what the socket takes of the backlog. False: the connection broke; errno says why. */
bool connection_stream_flush(struct connection *connection);

static inline bool
connection_has_backlog(const struct connection *connection)
{
	return connection->stream.flushed < connection->stream.backlog.length;
}

const char *connection_reason_phrase(int status);

/* Sends "100 Continue" if the client expects it before its body (RFC 9110 section 10.1.1). */
void connection_send_continue(struct connection *connection);

#endif
