/*
 * A bound that many share: bytes of a kind that may be in use at once. Any thread.
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

/* False, and nothing is taken, where that would be more than the limit. */
static inline bool
budget_take(struct budget *budget, size_t bytes)
{
	size_t before = atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed);

	if (before <= budget->limit && bytes <= budget->limit - before) {
		return true;
	}
	(void)atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
	return false;
}

static inline void
budget_give(struct budget *budget, size_t bytes)
{
	(void)atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}

#endif
