/* Several servers that are followed: what each tells of its last seconds, and of its cache. On one loop's thread. */
#ifndef HIPPOCAMP_APP_WATCH_H
#define HIPPOCAMP_APP_WATCH_H

#include "measure/client.h"
#include "wire/cache_report.h"
#include "wire/history_report.h"

#define WATCH_SECONDS 5 /* over which rates are taken */

struct watched_server {
	const char *url;
	bool is_known;		       /* it has answered */
	char failure[512];	       /* why it does not answer now; "": it does */
	struct history_report history; /* the last one */
	struct cache_report cache;     /* without models, if it has none */
	struct arena arena;	       /* of `cache` */

	/* Internal. */
	struct client *client;
	struct watch_call {
		struct client_call call; /* first */
		struct watched_server *server;
		struct buf head;
		bool is_under_way;
	} calls[2];
};

struct watch {
	struct loop *loop;
	struct watched_server *servers;
	size_t count;
};

/* The URLs outlive the watch. Call watch_fini in any case. */
enum status watch_init(struct watch *watch, struct loop *loop, const char *const *urls, size_t count,
		       struct error *error);
void watch_fini(struct watch *watch);

/* Asks all servers whose last question is no longer under way; while the loop turns, the answers come. */
void watch_ask(struct watch *watch);

/* Have all answered, or failed? */
bool watch_is_complete(const struct watch *watch);

/* What is still to come will not: those servers are said not to answer. */
void watch_give_up(struct watch *watch);

#endif
