/*
 * Time: the monotonic clock for durations and deadlines, the wall clock for times that people and other machines read.
 */
#ifndef HIPPOCAMP_BASE_CLOCK_H
#define HIPPOCAMP_BASE_CLOCK_H

#include <pthread.h>
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

/* As pthread_cond_timedwait, until clock_now_ns is `deadline_ns`: a step of the wall clock does not matter. */
static inline void
clock_wait(pthread_cond_t *changed, pthread_mutex_t *mutex, uint64_t deadline_ns)
{
	struct timespec until = {.tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S)};

	(void)pthread_cond_clockwait(changed, mutex, CLOCK_MONOTONIC, &until);
}

#endif
