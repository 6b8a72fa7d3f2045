/*
 * Values of gRPC's header fields for one who passes calls on (PROTOCOL-HTTP2.md of the grpc project, "Requests",
 * "Responses", "Errors"; http-grpc-status-mapping.md).
 */
#ifndef HIPPOCAMP_GRPC_STATUS_H
#define HIPPOCAMP_GRPC_STATUS_H

#include "grpc/grpc.h"

/* Reads grpc-status. What is no status is GRPC_UNKNOWN. */
enum grpc_code grpc_status_read(struct bytes field);

#define GRPC_TIMEOUT_SIZE 10

/* Writes grpc-timeout, rounded up to eight digits. */
void grpc_timeout_write(uint64_t ns, char text[GRPC_TIMEOUT_SIZE]);

/* The codes for an HTTP status in place of a gRPC response, and for a stream that was reset. */
enum grpc_code grpc_code_of_http(int status);
enum grpc_code grpc_code_of_reset(uint32_t error_code);

#endif
