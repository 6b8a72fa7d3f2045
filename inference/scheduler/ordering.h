/*
 * preserve_ordering: the answers of a model leave in the order in which its requests arrived, whether they were hits,
 * joined or run, on any loop.
 */
#ifndef HIPPOCAMP_INFERENCE_SCHEDULER_ORDERING_H
#define HIPPOCAMP_INFERENCE_SCHEDULER_ORDERING_H

#include <stdbool.h>
#include <sys/queue.h>

struct ordering;

struct order {
	TAILQ_ENTRY(order) next;
	bool ready;
};

TAILQ_HEAD(order_list, order);

struct ordering *ordering_new(void);
void ordering_free(struct ordering *ordering); /* NULL is fine */

/* Enters a request that has arrived. Any thread. */
void ordering_enter(struct ordering *ordering, struct order *order);

/* Marks a request as answered. Moves the requests whose turn has come to `leaving`, in order; it may be among them. */
void ordering_ready(struct ordering *ordering, struct order *order, struct order_list *leaving);

#endif
