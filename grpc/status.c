#include "grpc/status.h"

#include "base/clock.h"

#include <inttypes.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

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

void
grpc_timeout_write(uint64_t ns, char text[GRPC_TIMEOUT_SIZE])
{
	static const struct {
		uint64_t ns;
		char unit;
	} units[] = {{1, 'n'}, {1000, 'u'}, {NS_PER_MS, 'm'}, {NS_PER_S, 'S'}, {60 * NS_PER_S, 'M'}};
	size_t i = 0;

	while (i + 1 < sizeof(units) / sizeof(*units) && ns / units[i].ns > 99999998) {
		i++;
	}
	ns = ns / units[i].ns + (ns % units[i].ns != 0);
	(void)snprintf(text, GRPC_TIMEOUT_SIZE, "%" PRIu64 "%c", ns > 99999999 ? 99999999 : ns, units[i].unit);
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

enum grpc_code
grpc_code_of_reset(uint32_t error_code)
{
	switch (error_code) {
	case NGHTTP2_REFUSED_STREAM:
		return GRPC_UNAVAILABLE;
	case NGHTTP2_CANCEL:
		return GRPC_CANCELLED;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return GRPC_RESOURCE_EXHAUSTED;
	case NGHTTP2_INADEQUATE_SECURITY:
		return GRPC_PERMISSION_DENIED;
	default:
		return GRPC_INTERNAL;
	}
}
