/*
 * What the servers of the gRPC conformance tests share: a lane on one loop, a port, and messages by field numbers.
 *
 * A call's context is the loop.
 */
#ifndef HIPPOCAMP_TESTS_GRPC_PROGRAM_H
#define HIPPOCAMP_TESTS_GRPC_PROGRAM_H

#include "base/protobuf.h"
#include "grpc/grpc.h"
#include "loop/tls_server.h"

struct program_options {
	const struct grpc_method *const *methods;
	size_t method_count;
	size_t max_message;	/* 0: 16 MiB */
	struct tls_options tls; /* without `cert`: plain */
	void (*started)(uint16_t port);
};

/* Serves on a port of 127.0.0.1 until SIGTERM or SIGINT. Returns the program's exit status. */
int program_serve(const struct program_options *options);

/* --- Calls --- */

/* For `begin`: replies will have the request's coding, if the client accepts that. */
void program_set_coding(struct grpc_call *call);

/* Sends a message, compressed by the call's coding if `compress` and there is one; takes over the buffer. */
void program_send(struct grpc_call *call, struct buf *text, bool compress);

/* Ends the call; a code that gRPC does not know counts as GRPC_UNKNOWN, as in gRPC's libraries. */
void program_finish(struct grpc_call *call, uint64_t code, struct bytes text);

/* --- Messages --- */

/* The last field of that number; 0, or a view with `at` NULL, if there is none. */
uint64_t message_number(struct bytes message, uint32_t number);
struct bytes message_bytes(struct bytes message, uint32_t number);

/* Removes what lies before the next field of that number, and the field. False: there is none. */
bool message_next(struct bytes *rest, uint32_t number, struct bytes *value);

#endif
