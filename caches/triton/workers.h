/*
 * Threads for calls that may block for as long as they like. What is urgent goes first; of that only so much waits,
 * since it is asked for by people who do not wait long.
 */
#ifndef HIPPOCAMP_CACHES_TRITON_WORKERS_H
#define HIPPOCAMP_CACHES_TRITON_WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct workers;

/* Embedded in something larger, which belongs to the workers until `run` is called, once, on one of their threads. */
struct work {
	void (*run)(struct work *work, bool cancelled); /* cancelled: the workers are stopping */
	STAILQ_ENTRY(work) queue;
};

/* NULL where there is no memory or not one thread. */
struct workers *workers_new(size_t threads, size_t urgent_max);

/* Any thread. False: too much of it waits already. */
bool workers_add(struct workers *workers, struct work *work, bool urgent);

/* Cancels what waits. False: a call did not end within that time; then everything stays as it is, and is lost. */
bool workers_stop(struct workers *workers, uint64_t patience_ms);

#endif
