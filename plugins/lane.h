/*
 * A lane of a store that many threads share. A thread that looks something up sends its command at once, and then waits
 * for the answer: the first one that waits polls for all of them, hands out what arrives, and when it has its own
 * leaves that to the next. So a look-up alone costs no switch between threads, and many at a time share a connection.
 * Equal ones at a time are one: one that was given up for late is still on its way, and the next is not to ask for it
 * again.
 *
 * While nobody waits, the background_thread (background_thread.h) has the lane turn: connections are made, and made
 * again, behind everybody's back. All functions but lane_new and lane_free may be called on any thread.
 */
#ifndef HIPPOCAMP_PLUGINS_LANE_H
#define HIPPOCAMP_PLUGINS_LANE_H

#include "plugins/generation.h"
#include "plugins/poll_loop.h"

struct lane;

/* NULL where there is no memory, or no descriptor. */
struct lane *lane_new(const struct cache_ops *ops, struct cache *store);
/* Nobody waits any more; what is on its way is given up. */
void lane_free(struct lane *lane);

/* What the store tells at once (cache_ops.peek), if it does. */
void lane_peek(struct lane *lane, struct cache_lookup *lookup);

/* How many look-ups are under way. */
unsigned lane_load(const struct lane *lane);

enum lane_answer {
	LANE_FOUND,
	LANE_ABSENT,
	LANE_DAMAGED, /* there is something that is nothing: to be removed */
	LANE_FAILED,  /* the store is in trouble, or there is no memory */
	LANE_LATE,
};

/* What was found, and the question that found it, which the store may want to see again. */
struct lane_finding {
	struct lane *lane;
	struct lane_question *question;
	const struct blob *value; /* NULL: nothing */
};

/*
 * Waits until the deadline (clock_now_ns) at most. `expected`: bytes of the value, as far as can be told, else 0.
 * `finding` is to be ended in any case.
 */
enum lane_answer lane_look_up(struct lane *lane, const struct generation_key *key, size_t expected,
			      uint64_t deadline_ns, struct lane_finding *finding);

/*
 * What is to become of it; of all who found it by one question the first one is heard, and gets true.
 *
 * The value is good, and stays so for `ttl_ms` (0: no end).
 */
bool lane_confirm(struct lane_finding *finding, uint64_t ttl_ms);
/* The value is no good: it goes from the store. */
bool lane_remove(struct lane_finding *finding);
/* The value is the answer to another key: it goes, and so do the connections. */
bool lane_distrust(struct lane_finding *finding);
void lane_finding_end(struct lane_finding *finding);

/* Stores where nothing is yet, behind everybody's back; takes over `value`, whose bytes leave `bytes` with it. */
void lane_insert(struct lane *lane, const struct generation_key *key, struct blob *value, uint64_t ttl_ms,
		 atomic_size_t *bytes);

/* --- For the background_thread --- */

/* A part of a set. */
struct lane_part {
	size_t first;
	size_t count; /* 0: the lane is not to be waited for */
};

struct lane_part lane_attend(struct lane *lane, struct poll_set *set);
void lane_attended(struct lane *lane, const struct poll_set *set, struct lane_part part);

#endif
