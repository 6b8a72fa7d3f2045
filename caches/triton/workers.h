/*
 * Threads for calls that may block for any time. Urgent work goes first, and only a bounded number of it waits, since
 * those who ask for it do not wait long.
 */
#ifndef HIPPOCAMP_CACHES_TRITON_WORKERS_H
#define HIPPOCAMP_CACHES_TRITON_WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct workers;

/* Embedded in a larger struct, which belongs to the workers until `run` is called, once, on one of their threads. */
struct work {
	void (*run)(struct work *work, bool cancelled); /* cancelled: the workers are stopping */
	STAILQ_ENTRY(work) queue;
};

/* At most `urgent_max` pieces of urgent work wait. NULL where there is no memory or no thread. */
struct workers *workers_new(size_t threads, size_t urgent_max);

/* Any thread. False: too much urgent work is waiting. */
bool workers_add(struct workers *workers, struct work *work, bool urgent);

/*
 * Cancels waiting work, then waits for running calls and frees the workers. False: a call did not end within
 * `timeout_ms`; then nothing is freed.
 */
bool workers_stop(struct workers *workers, uint64_t timeout_ms);

#endif
