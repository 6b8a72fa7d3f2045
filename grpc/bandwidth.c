#include "grpc/bandwidth.h"

#include "base/clock.h"

/* Less than that between two measurements is no bulk transfer. */
#define BULK_BYTES (UINT64_C(64) * 1024)

bool
bandwidth_received(struct bandwidth *bandwidth, uint32_t bytes, uint64_t now_ns)
{
	if (bandwidth->window >= BANDWIDTH_WINDOW_MAX) {
		return false;
	}
	if (bandwidth->is_measuring) {
		bandwidth->bytes += bytes;
		return false;
	}
	bandwidth->idle_bytes += bytes;
	if (bandwidth->idle_bytes < BULK_BYTES) {
		return false;
	}
	bandwidth->is_measuring = true;
	bandwidth->bytes = bytes;
	bandwidth->start_ns = now_ns;
	return true;
}

bool
bandwidth_answered(struct bandwidth *bandwidth, uint64_t now_ns)
{
	uint64_t took_ns = now_ns > bandwidth->start_ns ? now_ns - bandwidth->start_ns : 1;
	double rate = (double)bandwidth->bytes * (double)NS_PER_S / (double)took_ns;
	bool is_faster = rate > bandwidth->rate_max;

	bandwidth->is_measuring = false;
	bandwidth->idle_bytes = 0;
	if (is_faster) {
		bandwidth->rate_max = rate;
	}
	/* The window is the bottleneck if two thirds of it arrived within a round trip, faster than ever. */
	if (!is_faster || bandwidth->bytes < (uint64_t)bandwidth->window * 2 / 3) {
		return false;
	}
	bandwidth->window = bandwidth->window > BANDWIDTH_WINDOW_MAX / 2 ? BANDWIDTH_WINDOW_MAX : bandwidth->window * 2;
	return true;
}
