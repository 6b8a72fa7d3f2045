/*
 * What other threads may know of the servers that the lanes of a store use. Each lane has a node of its own for a
 * server; it is on the store's board while it lives, and its thread writes on its notice whatever changes.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_NODE_BOARD_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_NODE_BOARD_H

#include "base/metric.h"
#include "caches/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

/* A part of a node; all but the atomic fields belong to the board. */
struct node_notice {
	TAILQ_ENTRY(node_notice) list;
	const char *name;
	_Atomic uint64_t round_trip_ns; /* 0: not known */
	_Atomic uint64_t connections;	/* that take small look-ups */
	_Atomic bool has_open_breaker;	/* it is not closed */
};

/* Any thread. */
struct node_board {
	pthread_mutex_t lock;
	TAILQ_HEAD(node_notices, node_notice) notices; /* by name */
};

void node_board_init(struct node_board *board);
void node_board_fini(struct node_board *board); /* when nothing is on it */

/* `name`, the server's address, is kept. */
void node_board_add(struct node_board *board, struct node_notice *notice, const char *name);
void node_board_remove(struct node_board *board, struct node_notice *notice);

/* Tells of each server once, by name; `tell` must not call the board. A lane that gets or loses a node waits for it. */
void node_board_read(struct node_board *board, void (*tell)(void *context, const struct cache_node *node),
		     void *context);

/* Reports hippocamp_cache_node_... */
void node_board_metrics(struct node_board *board, const struct metric_sink *sink);

#endif
