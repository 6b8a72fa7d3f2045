/*
 * How large the receive windows of a connection should be: an estimate of its bandwidth-delay product, made as gRPC's
 * libraries make it (bdp_estimator of gRPC core). While data arrive, a PING is sent; what arrives until its reply is
 * about one product. If that nearly fills the window, the window doubles.
 *
 * Pure: the caller sends the PING, passes the time and sets the windows. Room-private.
 */
#ifndef HIPPOCAMP_GRPC_BANDWIDTH_H
#define HIPPOCAMP_GRPC_BANDWIDTH_H

#include <stdbool.h>
#include <stdint.h>

#define BANDWIDTH_WINDOW_MIN (UINT32_C(1) << 20)
#define BANDWIDTH_WINDOW_MAX (UINT32_C(1) << 24)

struct bandwidth {
	uint32_t window;     /* bytes, of a stream; zero the struct, then set it to BANDWIDTH_WINDOW_MIN */
	bool is_measuring;   /* a PING is under way */
	uint64_t idle_bytes; /* since the last measurement */
	uint64_t bytes;	     /* since the PING */
	uint64_t start_ns;
	double rate_max; /* bytes per second, of all measurements */
};

/* Counts `bytes` of data received. True: send a PING now, at `now_ns`. */
bool bandwidth_received(struct bandwidth *bandwidth, uint32_t bytes, uint64_t now_ns);

/* Call when the reply to that PING has come. True: the window has grown. */
bool bandwidth_answered(struct bandwidth *bandwidth, uint64_t now_ns);

#endif
