/*
 * Values of gRPC's header fields (PROTOCOL-HTTP2.md, "Requests" and "Responses"). Room-private.
 */
#ifndef HIPPOCAMP_GRPC_FIELD_H
#define HIPPOCAMP_GRPC_FIELD_H

#include "base/arena.h"
#include "base/buf.h"

/* Reads grpc-timeout: at most eight digits and a unit, one of H M S m u n. False: malformed. */
bool grpc_timeout_read(struct bytes field, uint64_t *ns);

/* Percent-encodes a grpc-message into the arena: bytes outside of 0x20 to 0x7e, and '%'. Length 0 if out of memory. */
struct bytes grpc_message_encode(struct bytes text, struct arena *arena);

/* Is it "application/grpc", with no suffix, "+proto", or parameters? */
bool grpc_content_type_valid(struct bytes field);

#endif
