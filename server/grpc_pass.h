/*
 * Calls of gRPC that pass through to the server behind. Room-private.
 *
 * The request's messages are received whole, decompressed, and sent on one by one; the response's bytes are sent on as
 * they come, with their prefixes and in their coding.
 */
#ifndef HIPPOCAMP_SERVER_GRPC_PASS_H
#define HIPPOCAMP_SERVER_GRPC_PASS_H

#include "server/grpc_service.h"
#include "server/pass_reason.h"

struct grpc_pass;

/*
 * Lets a call pass whose method has not ended it; from now on the call belongs to the pass. Then send the messages that
 * the method has been given, and tell of the half-close and of the lane's stop if it has been told. NULL: the call has
 * been refused, and is over.
 */
struct grpc_pass *grpc_pass_begin(struct grpc_call *call, enum pass_reason reason);
void grpc_pass_message(struct grpc_pass *pass, struct grpc_message message); /* takes it over */
void grpc_pass_half_close(struct grpc_pass *pass);
void grpc_pass_stop(struct grpc_pass *pass);

/* Lets a call pass whose client has sent the message, which is taken over, and no other. */
void grpc_pass_unary(struct grpc_call *call, struct grpc_message message, enum pass_reason reason);

#endif
