#include "inference/scheduler/ordering.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>

struct ordering {
	pthread_mutex_t mutex; /* requests of one model come from all loops */
	struct order_list waiting;
};

struct ordering *
ordering_new(void)
{
	struct ordering *ordering = memory_new(sizeof(*ordering));

	(void)pthread_mutex_init(&ordering->mutex, NULL);
	TAILQ_INIT(&ordering->waiting);
	return ordering;
}

void
ordering_free(struct ordering *ordering)
{
	if (ordering != NULL) {
		(void)pthread_mutex_destroy(&ordering->mutex);
		free(ordering);
	}
}

void
ordering_enter(struct ordering *ordering, struct order *order)
{
	order->ready = false;
	(void)pthread_mutex_lock(&ordering->mutex);
	TAILQ_INSERT_TAIL(&ordering->waiting, order, next);
	(void)pthread_mutex_unlock(&ordering->mutex);
}

void
ordering_ready(struct ordering *ordering, struct order *order, struct order_list *leaving)
{
	struct order *first;

	TAILQ_INIT(leaving);
	(void)pthread_mutex_lock(&ordering->mutex);
	order->ready = true;
	while ((first = TAILQ_FIRST(&ordering->waiting)) != NULL && first->ready) {
		TAILQ_REMOVE(&ordering->waiting, first, next);
		TAILQ_INSERT_TAIL(leaving, first, next);
	}
	(void)pthread_mutex_unlock(&ordering->mutex);
}
