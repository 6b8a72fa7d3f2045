/*
 * One HTTP/1.1 connection: reads one request at a time, calls its handler, writes its reply.
 * Room-private.
 *
 * A small request stays in the connection's buffer. A larger body is read from the socket straight into a block of its
 * own (body.h).
 */
#ifndef HIPPOCAMP_SERVER_CONNECTION_H
#define HIPPOCAMP_SERVER_CONNECTION_H

#include "server/exchange.h"

/* Takes over the descriptor. `port` must outlive the connection, which frees itself. */
void connection_new(struct server_lane *lane, int fd, const struct server_port *port);

/* Ends the connection if its peer has been silent too long or is too slow. Call once a second. */
void connection_sweep(struct connection *connection);

/* Closes the connection: now if it has no complete request head or lingers, else after the reply. */
void connection_finish(struct connection *connection);

struct connection *connection_next(struct connection *connection);

#endif
