/*
 * In front of another server: its statistics, with what the cache has answered. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_FRONT_STATISTICS_H
#define HIPPOCAMP_SERVER_FRONT_STATISTICS_H

#include "server/exchange.h"
#include "upstream/upstream.h"

/*
 * One request for them. The caller fills the first two, and owns it until `done` or front_statistics_cancel. `done` is
 * called on the lane's loop, never within front_statistics_start: `good`: `json` has the document; else the server is
 * to be asked for its own words.
 */
struct front_statistics {
	struct server_lane *lane;
	void (*done)(struct front_statistics *statistics, bool good);
	struct buf json;

	/* Private. */
	struct upstream_call call;
	struct buf body;
	int status;
};

/* `target` outlives the request. */
void front_statistics_start(struct front_statistics *statistics, struct bytes target);
void front_statistics_cancel(struct front_statistics *statistics);
void front_statistics_fini(struct front_statistics *statistics); /* after either */

#endif
