/*
 * One HTTP/1.1 connection: reads requests, one at a time, hands them to their handlers, writes the replies in order.
 * Room-private.
 *
 * Small requests are read into the connection's buffer and used there. The body of a larger one is read from the socket
 * straight into a block of its own, laid out so that the tensors behind the JSON header are aligned.
 */
#ifndef HIPPOCAMP_SERVER_CONNECTION_H
#define HIPPOCAMP_SERVER_CONNECTION_H

#include "server/exchange.h"

/* Takes over the descriptor; `port` outlives the connection. */
void connection_new(struct server_lane *lane, int fd, const struct server_port *port);

/* Once a second: ends a connection whose peer is silent for too long, or too slow. */
void connection_sweep(struct connection *connection);

/* Closes now if no request has come whole as far as its head, else after the reply. */
void connection_finish(struct connection *connection);

struct connection *connection_next(struct connection *connection);

#endif
