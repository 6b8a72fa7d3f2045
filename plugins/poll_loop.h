/*
 * What a lane of a store gets from its host inside a foreign server: watches, timers and names, over poll(2). There is
 * no thread in it: whoever holds the lane's lock makes a turn. Waiting is outside of the lock, so that others may use
 * the lane meanwhile:
 *
 *     lock; poll_loop_collect; unlock; poll_set_wait; lock; poll_loop_turn; unlock
 *
 * All functions but poll_loop_wake are called with the lock held, one thread at a time.
 */
#ifndef HIPPOCAMP_PLUGINS_POLL_LOOP_H
#define HIPPOCAMP_PLUGINS_POLL_LOOP_H

#include "caches/cache.h"

#include <poll.h>

struct poll_loop;

/* What is waited for, of one loop or of several. All zero: nothing yet. */
struct poll_set {
	struct pollfd *at;
	uint64_t *watches; /* by their numbers; 0: a loop's own */
	size_t count;
	size_t capacity;
	uint64_t until_ns; /* of clock_now_ns() */
};

/* Nothing to wait for, until then at the latest. */
void poll_set_clear(struct poll_set *set, uint64_t until_ns);
void poll_set_fini(struct poll_set *set);
/* Without memory a descriptor is left out, and the wait is short. */
void poll_set_add(struct poll_set *set, int fd, short events, uint64_t watch);
void poll_set_wait(struct poll_set *set);

/* NULL where there is no memory or no descriptor. */
struct poll_loop *poll_loop_new(void);
/* Its watches and timers are gone; names that are being looked up are answered here. */
void poll_loop_free(struct poll_loop *loop);

/* What the lane is attached with. */
const struct cache_host *poll_loop_host(const struct poll_loop *loop);

/* Adds the loop's descriptors, and moves until_ns to its next timer. */
void poll_loop_collect(struct poll_loop *loop, struct poll_set *set);

/* Gives out what has happened: events of these, names, timers that are due. */
void poll_loop_turn(struct poll_loop *loop, const struct poll_set *set, size_t first, size_t count);

/* The same without having waited. */
void poll_loop_glance(struct poll_loop *loop);

/*
 * For who has used the lane while another waits for its descriptors: what can be written is, and if there is more to
 * wait for than when they were collected, the one who waits is woken.
 */
void poll_loop_used(struct poll_loop *loop);

/* Any thread, without the lock. */
void poll_loop_wake(struct poll_loop *loop);

#endif
