/*
 * What the files of a connection share. Room-private. connection.c: its life, and what it reads; connection_write.c:
 * what it writes.
 */
#ifndef HIPPOCAMP_SERVER_CONNECTION_INTERNAL_H
#define HIPPOCAMP_SERVER_CONNECTION_INTERNAL_H

#include "server/body.h"
#include "server/connection.h"

enum connection_state {
	READING_HEAD,
	READING_BODY, /* of known length */
	READING_CHUNKS,
	HANDLING, /* the handler has it */
	WRITING,
	LINGERING, /* answered early: what the peer still sends is thrown away, so that it reads the answer */
};

struct connection {
	TAILQ_ENTRY(connection) lane_entry;
	struct server_lane *lane;
	struct loop_watch *watch;
	const struct server_port *port;
	int fd;
	enum connection_state state;
	bool in_progress; /* inside `advance`: a reply is written there */
	bool close_after;
	bool linger_after;
	unsigned active_tick; /* of the last byte in or out */
	unsigned phase_tick;  /* when what the peer is to bring to its end began: a head, a body, taking a reply */

	uint8_t *in; /* the head of the message from in[0], what follows behind it */
	size_t in_capacity;
	size_t in_length;
	size_t in_parsed; /* of an unfinished head */
	size_t head_length;
	size_t body_here; /* bytes of the body that lie behind the head, where it does */
	struct http1_parser *parser;

	struct body body; /* with a block: of READING_BODY or READING_CHUNKS */

	struct bytes head_out;
	char head_text[512];
	size_t written; /* of head and pieces together */
	size_t total;

	struct exchange exchange;
};

/* The head of the reply to the connection's exchange; nothing of it is written yet. */
void connection_begin_reply(struct connection *connection);

/* Writes what the socket takes. False: it broke, and errno says why. */
bool connection_write(struct connection *connection);

/* "100 Continue", to a client that waits for it before it sends a body (RFC 9110 section 10.1.1). */
void connection_send_continue(struct connection *connection);

#endif
