/*
 * A lane of a store that many threads share. A thread that looks something up sends its command immediately and then
 * waits for the answer. One of the waiting threads, the leader, polls for all of them and hands out the answers; when
 * it has its own, the next one leads. So a single look-up costs no switch between threads, and many at a time share a
 * connection. Look-ups of one key share one question to the store as long as it is not answered, even if earlier
 * look-ups have given it up as late.
 *
 * While no thread waits, the background thread (background_thread.h) polls for the lane, so that connections are made
 * and remade without delaying a look-up. All functions but lane_new and lane_free may be called on any thread.
 */
#ifndef HIPPOCAMP_PLUGINS_LANE_H
#define HIPPOCAMP_PLUGINS_LANE_H

#include "plugins/generation.h"
#include "plugins/poll_loop.h"

struct lane;

/* NULL where there is no memory, or no descriptor. */
struct lane *lane_new(const struct cache_ops *ops, struct cache *store);
/* Call it when no thread waits any more. Unanswered look-ups and inserts are given up. NULL is fine. */
void lane_free(struct lane *lane);

/* Looks up what the store answers immediately (cache_ops.peek), if anything. */
void lane_peek(struct lane *lane, struct cache_lookup *lookup);

/* How many look-ups are under way. */
unsigned lane_load(const struct lane *lane);

enum lane_answer {
	LANE_FOUND,
	LANE_ABSENT,
	LANE_DAMAGED, /* the key holds something that is no value: to be removed */
	LANE_FAILED,  /* the store is in trouble, or there is no memory */
	LANE_LATE,
};

/* The value found, and the question that found it; lane_confirm passes that to the store again. */
struct lane_finding {
	struct lane *lane;
	struct lane_question *question;
	const struct blob *value; /* NULL: nothing */
};

/*
 * Waits until `deadline_ns` (clock_now_ns) at most. `expected`: bytes of the value, if known, else 0. The caller calls
 * lane_finding_end in any case.
 */
enum lane_answer lane_look_up(struct lane *lane, const struct generation_key *key, size_t expected,
			      uint64_t deadline_ns, struct lane_finding *finding);

/*
 * What to do with the entry: confirm, remove or distrust. Of all who found it by one question only the first decides,
 * and gets true.
 *
 * lane_confirm: the value is valid, and stays so for `ttl_ms` (0: no end).
 */
bool lane_confirm(struct lane_finding *finding, uint64_t ttl_ms);
/* The value is not valid: removes the entry from the store. */
bool lane_remove(struct lane_finding *finding);
/* The value belongs to another key: removes the entry and resets the connections. */
bool lane_distrust(struct lane_finding *finding);
void lane_finding_end(struct lane_finding *finding);

/*
 * Stores a value unless its key has one; does not wait. Takes over `value`, and subtracts its length from `bytes` when
 * it is stored or given up.
 */
void lane_insert(struct lane *lane, const struct generation_key *key, struct blob *value, uint64_t ttl_ms,
		 atomic_size_t *bytes);

/* --- For the background thread --- */

/* A lane's part of a set: lane_attend adds it, and lane_attended hands out its events. */
struct lane_part {
	size_t first;
	size_t count; /* 0: do not wait for the lane */
};

struct lane_part lane_attend(struct lane *lane, struct poll_set *set);
void lane_attended(struct lane *lane, const struct poll_set *set, struct lane_part part);

#endif
