/*
 * The host of a store's lane in a plug-in: watches, timers and names, over poll(2). It has no thread of its own:
 * whoever holds the lane's lock makes a turn. The lock is released for the wait, so that other threads may use the lane
 * meanwhile:
 *
 *     lock; poll_loop_collect; unlock; poll_set_wait; lock; poll_loop_turn; unlock
 *
 * All poll_loop functions but poll_loop_wake are called with the lock held, by one thread at a time.
 */
#ifndef HIPPOCAMP_PLUGINS_POLL_LOOP_H
#define HIPPOCAMP_PLUGINS_POLL_LOOP_H

#include "caches/cache.h"

#include <poll.h>

struct poll_loop;

/* The descriptors to wait for, of one loop or of several. All zero: empty. */
struct poll_set {
	struct pollfd *at;
	uint64_t *watches; /* the number of each one's watch; 0: it is a loop's own */
	size_t count;
	size_t capacity;
	uint64_t until_ns; /* the end of the wait, by clock_now_ns() */
};

/* Empties the set. A wait then ends at `until_ns` at the latest. */
void poll_set_clear(struct poll_set *set, uint64_t until_ns);
void poll_set_fini(struct poll_set *set);
/* If there is no memory, the descriptor is left out, and the wait is cut to 10 ms. */
void poll_set_add(struct poll_set *set, int fd, short events, uint64_t watch);
void poll_set_wait(struct poll_set *set);

/* NULL where there is no memory or no descriptor. */
struct poll_loop *poll_loop_new(void);
/* Call it when all watches and timers are freed. Names that are still being looked up are answered here. */
void poll_loop_free(struct poll_loop *loop);

/* The host to attach the lane with. */
const struct cache_host *poll_loop_host(const struct poll_loop *loop);

/* Adds the loop's descriptors, and moves until_ns up to the loop's next timer. */
void poll_loop_collect(struct poll_loop *loop, struct poll_set *set);

/* Calls back for the events of `count` descriptors from `first`, for resolved names and for due timers. */
void poll_loop_turn(struct poll_loop *loop, const struct poll_set *set, size_t first, size_t count);

/* Collects, polls without waiting, and makes a turn. */
void poll_loop_glance(struct poll_loop *loop);

/*
 * Call it after using the lane while another thread waits for its descriptors. Writes what can be written, and wakes
 * that thread if there is more to wait for than when it collected them.
 */
void poll_loop_used(struct poll_loop *loop);

/* Ends a wait. Any thread; needs no lock. */
void poll_loop_wake(struct poll_loop *loop);

#endif
