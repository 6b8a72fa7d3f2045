/*
 * Detects a store whose answers always come too late: its users wait in vain for every look-up, and nothing else would
 * report it. Any thread; initialise to zeros.
 */
#ifndef HIPPOCAMP_BASE_LATENESS_H
#define HIPPOCAMP_BASE_LATENESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LATENESS_COUNT 5
#define LATENESS_NS UINT64_C(2000000000)
#define LATENESS_AGAIN_NS UINT64_C(600000000000)

struct lateness {
	atomic_uint late;	   /* late answers in a row */
	_Atomic uint64_t since_ns; /* when the first of them was noted */
	_Atomic uint64_t told_ns;  /* last report; 0: none */
};

/* Notes one answer. True: LATENESS_COUNT in a row, over LATENESS_NS, were late, so the caller warns; at most once per
 * LATENESS_AGAIN_NS. */
static inline bool
lateness_note(struct lateness *lateness, bool late, uint64_t now_ns)
{
	uint64_t told_ns = atomic_load_explicit(&lateness->told_ns, memory_order_relaxed);
	uint64_t since_ns;

	if (!late) {
		if (atomic_load_explicit(&lateness->late, memory_order_relaxed) !=
		    0) { /* check first: all threads share this cache line */
			atomic_store_explicit(&lateness->late, 0, memory_order_relaxed);
		}
		return false;
	}
	if (atomic_fetch_add_explicit(&lateness->late, 1, memory_order_relaxed) == 0) {
		atomic_store_explicit(&lateness->since_ns, now_ns, memory_order_relaxed);
		return false;
	}
	since_ns = atomic_load_explicit(&lateness->since_ns, memory_order_relaxed);
	return atomic_load_explicit(&lateness->late, memory_order_relaxed) >= LATENESS_COUNT &&
	       (int64_t)(now_ns - since_ns) >= (int64_t)LATENESS_NS &&
	       (told_ns == 0 || now_ns - told_ns >= LATENESS_AGAIN_NS) &&
	       atomic_compare_exchange_strong(&lateness->told_ns, &told_ns, now_ns);
}

#endif
