/*
 * Is a store always late? Where none of its answers has been in time for a while, its users wait for nothing, and
 * nothing else tells them so. Any thread; all zero at first.
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
	atomic_uint late;	   /* in a row */
	_Atomic uint64_t since_ns; /* the first of them */
	_Atomic uint64_t told_ns;  /* 0: never */
};

/* An answer was in time, or was not. True: say that they are all late, which is not said again for ten minutes. */
static inline bool
lateness_note(struct lateness *lateness, bool late, uint64_t now_ns)
{
	uint64_t told_ns = atomic_load_explicit(&lateness->told_ns, memory_order_relaxed);
	uint64_t since_ns;

	if (!late) {
		if (atomic_load_explicit(&lateness->late, memory_order_relaxed) !=
		    0) { /* all threads share that line */
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
