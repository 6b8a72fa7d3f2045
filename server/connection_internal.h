/*
 * The connection's struct, shared by connection.c (life cycle, reading) and connection_write.c (writing). Room-private.
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

	struct body body; /* has a block if the body is chunked or does not fit into `in` */

	struct bytes head_out;
	char head_text[512];
	size_t written; /* of head and pieces together */
	size_t total;

	struct exchange exchange;
};

/* Builds the head of the exchange's reply; writes nothing yet. */
void connection_begin_reply(struct connection *connection);

/* Writes as much of the reply as the socket takes. False: the connection broke; errno says why. */
bool connection_write(struct connection *connection);

/* Sends "100 Continue" if the client expects it before its body (RFC 9110 section 10.1.1). */
void connection_send_continue(struct connection *connection);

#endif
