/*
 * A shared limit on the bytes in use at once for one purpose. Any thread.
 */
#ifndef HIPPOCAMP_BASE_BUDGET_H
#define HIPPOCAMP_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct budget {
	atomic_size_t used;
	size_t limit;
};

static inline void
budget_init(struct budget *budget, size_t limit)
{
	atomic_init(&budget->used, 0);
	budget->limit = limit;
}

/* Returns false, and takes nothing, if that would exceed the limit. */
static inline bool
budget_take(struct budget *budget, size_t bytes)
{
	size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);

	do {
		if (used > budget->limit || bytes > budget->limit - used) {
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(&budget->used, &used, used + bytes, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

static inline void
budget_give(struct budget *budget, size_t bytes)
{
	(void)atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}

#endif
