/*
 * The head of a gRPC request that is passed on to another server, as a gateway writes it. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_GRPC_REQUEST_HEAD_H
#define HIPPOCAMP_SERVER_GRPC_REQUEST_HEAD_H

#include "grpc/grpc.h"
#include "upstream/http2_client.h"

/* Is it metadata, which is the client's? The protocol's own fields are those of each connection. */
bool grpc_is_metadata(struct bytes name);

/*
 * Returns the fields for the server behind, all but those of the connection, in the arena. The codings that it is
 * offered are those in which the response can go on: if the header fields to the client have been sent, only the one
 * that they state. NULL: the call has come through here before, in a circle.
 */
const struct http2_field *grpc_request_head(const struct grpc_call *call, bool with_timeout, struct arena *arena,
					    size_t *count);

#endif
