/*
 * For one who passes calls on: deadlines, and streams that were reset (PROTOCOL-HTTP2.md of the grpc project,
 * "Requests", "Errors").
 */
#ifndef HIPPOCAMP_GRPC_STATUS_H
#define HIPPOCAMP_GRPC_STATUS_H

#include "grpc/grpc.h"

#define GRPC_TIMEOUT_SIZE 10

/* Writes grpc-timeout, rounded up to eight digits. */
void grpc_timeout_write(uint64_t ns, char text[GRPC_TIMEOUT_SIZE]);

/* The code for a stream that was reset. */
enum grpc_code grpc_code_of_reset(uint32_t error_code);

#endif
