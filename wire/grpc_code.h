/*
 * gRPC's status codes, and HTTP's for the same (statuscodes.md and http-grpc-status-mapping.md of the grpc project).
 */
#ifndef HIPPOCAMP_WIRE_GRPC_CODE_H
#define HIPPOCAMP_WIRE_GRPC_CODE_H

#include "base/bytes.h"

enum grpc_code {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_ABORTED = 10,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15,
	GRPC_UNAUTHENTICATED = 16,
};

/* Reads grpc-status. What is no status is GRPC_UNKNOWN. */
enum grpc_code grpc_status_read(struct bytes field);

/* The code for an HTTP status in place of a gRPC response. */
enum grpc_code grpc_code_of_http(int status);

/*
 * The status that Triton's HTTP gives with the error that its gRPC gives this code for, and for codes that Triton does
 * not use the nearest one. Each of 404, 500, 501 and 503 stands for one code alone.
 */
int grpc_http_status(enum grpc_code code);

#endif
