#include "wire/grpc_code.h"

enum grpc_code
grpc_status_read(struct bytes field)
{
	unsigned code = 0;

	for (size_t i = 0; i < field.length; i++) {
		if (field.at[i] < '0' || field.at[i] > '9' || field.length > 2) {
			return GRPC_UNKNOWN;
		}
		code = code * 10 + (unsigned)(field.at[i] - '0');
	}
	return field.length == 0 || code > GRPC_UNAUTHENTICATED ? GRPC_UNKNOWN : (enum grpc_code)code;
}

enum grpc_code
grpc_code_of_http(int status)
{
	switch (status) {
	case 400:
		return GRPC_INTERNAL;
	case 401:
		return GRPC_UNAUTHENTICATED;
	case 403:
		return GRPC_PERMISSION_DENIED;
	case 404:
		return GRPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return GRPC_UNAVAILABLE;
	default:
		return GRPC_UNKNOWN;
	}
}

int
grpc_http_status(enum grpc_code code)
{
	switch (code) {
	case GRPC_OK:
		return 200;
	case GRPC_NOT_FOUND:
		return 404;
	case GRPC_UNIMPLEMENTED:
		return 501;
	case GRPC_UNAVAILABLE:
		return 503;
	case GRPC_INTERNAL:
		return 500;
	case GRPC_DEADLINE_EXCEEDED:
		return 504;
	case GRPC_PERMISSION_DENIED:
		return 403;
	case GRPC_UNAUTHENTICATED:
		return 401;
	case GRPC_RESOURCE_EXHAUSTED:
		return 429;
	case GRPC_ABORTED:
		return 409;
	default: /* Triton's for all else */
		return 400;
	}
}
