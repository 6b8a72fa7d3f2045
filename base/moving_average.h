/*
 * An exponentially weighted moving average: each sample has the weight 1/16; 0 means no sample yet. Any thread: of two
 * concurrent additions one may be lost, which is harmless.
 */
#ifndef HIPPOCAMP_BASE_MOVING_AVERAGE_H
#define HIPPOCAMP_BASE_MOVING_AVERAGE_H

#include <stdatomic.h>
#include <stdint.h>

static inline void
moving_average_add(_Atomic uint64_t *average, uint64_t sample)
{
	uint64_t old = atomic_load_explicit(average, memory_order_relaxed);
	uint64_t next = old == 0 ? sample : old - old / 16 + sample / 16;

	atomic_store_explicit(average, next == 0 ? 1 : next, memory_order_relaxed);
}

#endif
