/*
 * Time: the monotonic clock for durations and deadlines, the wall clock for times that people and other machines read.
 */
#ifndef HIPPOCAMP_BASE_CLOCK_H
#define HIPPOCAMP_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

static inline uint64_t
clock_read_ns(clockid_t id)
{
	struct timespec now;

	(void)clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline uint64_t
clock_now_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

/* Goes on while the machine sleeps, unlike clock_now_ns. */
static inline uint64_t
clock_boot_ns(void)
{
	return clock_read_ns(CLOCK_BOOTTIME);
}

/* Milliseconds since 1970-01-01 UTC. */
static inline uint64_t
clock_wall_ms(void)
{
	return clock_read_ns(CLOCK_REALTIME) / NS_PER_MS;
}

#endif
