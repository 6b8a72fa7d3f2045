#include "grpc/status.h"

#include "base/clock.h"

#include <inttypes.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

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
