/*
 * An event loop over libevent, one per thread. No code outside loop/ uses libevent.
 *
 * A loop belongs to its home thread, which calls loop_run. Before loop_run, the thread that made the loop counts as its
 * home. Make, set and free watches, timers and tasks on the home thread only; their functions run there. loop_post and
 * loop_stop may be called on any thread.
 */
#ifndef HIPPOCAMP_LOOP_LOOP_H
#define HIPPOCAMP_LOOP_LOOP_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct loop;
struct loop_watch;
struct loop_timer;
struct loop_task;

#define LOOP_READ 1U
#define LOOP_WRITE 2U

typedef void (*loop_watch_fn)(void *argument, unsigned events);
typedef void (*loop_timer_fn)(void *argument);
typedef void (*loop_task_fn)(void *argument);

struct loop *loop_new(struct error *error);
void loop_free(struct loop *loop); /* after loop_run; free the watches and timers first */

/* Runs until loop_stop; first delivers the mail that was posted before loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* In place of loop_run, for a thread that waits for something itself: handles what happens next, waiting for it. */
void loop_turn(struct loop *loop);

/* Calls `fn` while `fd` is ready for the set events (level-triggered). The caller still owns `fd`. `fn` may free the
 * watch. */
struct loop_watch *loop_watch_new(struct loop *loop, int fd, loop_watch_fn fn, void *argument);
void loop_watch_set(struct loop_watch *watch, unsigned events);
void loop_watch_free(struct loop_watch *watch);

/*
 * Calls `fn` once more as if `fd` were readable, in the next turn, unless other events are set before that. Only while
 * LOOP_READ is set.
 */
void loop_watch_wake(struct loop_watch *watch);

/* Calls `fn` once, `after_ms` after it was last set. `fn` may set or free the timer. */
struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn fn, void *argument);
void loop_timer_set(struct loop_timer *timer, uint64_t after_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

/*
 * Calls `fn` once at the end of the loop's current turn, after all that is ready now, if it was set meanwhile. Set
 * within its own `fn`, it runs in the next turn. `fn` may free the task.
 */
struct loop_task *loop_task_new(struct loop *loop, loop_task_fn fn, void *argument);
void loop_task_set(struct loop_task *task);
void loop_task_free(struct loop_task *task); /* NULL is fine */

/*
 * Mail: `deliver` runs once, on the home thread, never within loop_post. Mail of one sender arrives in the order of
 * posting. The sender must not touch the struct (usually embedded in a larger one) until `deliver` is called.
 */
struct loop_mail {
	struct loop_mail *next;
	void (*deliver)(struct loop_mail *mail);
};

void loop_post(struct loop *loop, struct loop_mail *mail);

/*
 * Looks up `host` (a name or a numeric address) without blocking the loop: in /etc/hosts, then by DNS as configured in
 * /etc/resolv.conf. `done` runs on the home thread exactly once, after loop_resolve returned, with an address and NULL,
 * or with NULL and the reason. Of several addresses, number `attempt` modulo their count is used.
 */
typedef void (*loop_resolve_fn)(void *argument, const struct sockaddr *address, socklen_t length, const char *failure);
void loop_resolve(struct loop *loop, const char *host, uint16_t port, unsigned attempt, loop_resolve_fn done,
		  void *argument);

#endif
