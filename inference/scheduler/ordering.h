/*
 * preserve_ordering: the answers of a model go out in the order in which its requests came in, whether they were found,
 * joined or run, on whatever loop.
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

/* A request has come. Any thread. */
void ordering_enter(struct ordering *ordering, struct order *order);

/* Its answer is there. Moves those into `leaving` whose turn it is now, in order; perhaps this one is among them. */
void ordering_ready(struct ordering *ordering, struct order *order, struct order_list *leaving);

#endif
