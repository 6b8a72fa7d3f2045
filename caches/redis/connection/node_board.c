#include "caches/redis/connection/node_board.h"

#include <string.h>

void
node_board_init(struct node_board *board)
{
	pthread_mutex_init(&board->lock, NULL);
	TAILQ_INIT(&board->notices);
}

void
node_board_fini(struct node_board *board)
{
	pthread_mutex_destroy(&board->lock);
}

void
node_board_add(struct node_board *board, struct node_notice *notice, const char *name)
{
	struct node_notice *next;

	notice->name = name;
	pthread_mutex_lock(&board->lock);
	TAILQ_FOREACH (next, &board->notices, list) {
		if (strcmp(next->name, name) >= 0) {
			break;
		}
	}
	if (next != NULL) {
		TAILQ_INSERT_BEFORE(next, notice, list);
	} else {
		TAILQ_INSERT_TAIL(&board->notices, notice, list);
	}
	pthread_mutex_unlock(&board->lock);
}

void
node_board_remove(struct node_board *board, struct node_notice *notice)
{
	pthread_mutex_lock(&board->lock);
	TAILQ_REMOVE(&board->notices, notice, list);
	pthread_mutex_unlock(&board->lock);
}

/* Sums up the notices of one server, from `first` on, and returns the next server's first. */
static const struct node_notice *
sum_up(const struct node_notice *first, struct cache_node *node)
{
	const struct node_notice *notice = first;
	uint64_t round_trips_ns = 0;
	uint64_t known = 0;

	*node = (struct cache_node){.name = first->name};
	for (; notice != NULL && strcmp(notice->name, first->name) == 0; notice = TAILQ_NEXT(notice, list)) {
		uint64_t round_trip_ns = atomic_load_explicit(&notice->round_trip_ns, memory_order_relaxed);
		uint64_t connections = atomic_load_explicit(&notice->connections, memory_order_relaxed);

		round_trips_ns += round_trip_ns;
		known += round_trip_ns > 0;
		node->connections += connections;
		node->connected_lanes += connections > 0;
		node->open_breakers += atomic_load_explicit(&notice->has_open_breaker, memory_order_relaxed);
		node->lanes++;
	}
	node->round_trip_us = known == 0 ? 0 : (double)round_trips_ns / (double)known / 1000;
	return notice;
}

void
node_board_read(struct node_board *board, void (*tell)(void *context, const struct cache_node *node), void *context)
{
	const struct node_notice *next;
	struct cache_node node;

	pthread_mutex_lock(&board->lock);
	for (next = TAILQ_FIRST(&board->notices); next != NULL;) {
		next = sum_up(next, &node);
		tell(context, &node);
	}
	pthread_mutex_unlock(&board->lock);
}

/* --- Metrics --- */

struct family {
	const struct metric_sink *sink;
	const char *name;
	double (*value)(const struct cache_node *node);
};

static double
connections_of(const struct cache_node *node)
{
	return (double)node->connections;
}

static double
open_breakers_of(const struct cache_node *node)
{
	return (double)node->open_breakers;
}

static double
round_trip_of(const struct cache_node *node)
{
	return node->round_trip_us / 1e6;
}

static void
emit(void *context, const struct cache_node *node)
{
	const struct family *family = context;
	struct metric_label label = {"node", bytes_text(node->name)};

	family->sink->sample(family->sink->context, family->name, &label, 1, family->value(node));
}

void
node_board_metrics(struct node_board *board, const struct metric_sink *sink)
{
	static const struct {
		const char *name;
		const char *help;
		double (*value)(const struct cache_node *node);
	} families[] = {
		{"hippocamp_cache_node_connections", "Open connections to a server, for small look-ups",
		 connections_of},
		{"hippocamp_cache_node_open_breakers", "Threads that give a server no work because its commands failed",
		 open_breakers_of},
		{"hippocamp_cache_node_round_trip_seconds",
		 "How long a server's answers take lately; 0: none has come yet", round_trip_of},
	};

	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++) {
		struct family family = {sink, families[i].name, families[i].value};

		metric_emit_family(sink, families[i].name, "gauge", families[i].help);
		node_board_read(board, emit, &family);
	}
}
