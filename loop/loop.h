/*
 * One event loop a thread, over libevent; nothing outside this room knows libevent.
 *
 * A loop belongs to the thread that calls loop_run (its home). Before loop_run, the thread that made the loop may use
 * it as if it were home. Watches and timers are made, set and freed at home only; their functions run at home.
 * loop_post and loop_stop may be called on any thread: that is how threads talk to a loop.
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

#define LOOP_READ 1U
#define LOOP_WRITE 2U

typedef void (*loop_watch_fn)(void *argument, unsigned events);
typedef void (*loop_timer_fn)(void *argument);

struct loop *loop_new(struct error *error);
void loop_free(struct loop *loop); /* after loop_run returned; its watches and timers must be gone */

/* Runs until loop_stop; mail that was posted before loop_stop is delivered first. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* The descriptor stays the caller's. Level-triggered. A watch may be freed in its own function. */
struct loop_watch *loop_watch_new(struct loop *loop, int fd, loop_watch_fn fn, void *argument);
void loop_watch_set(struct loop_watch *watch, unsigned events);
void loop_watch_free(struct loop_watch *watch);

/* One shot; setting it again moves it. A timer may be set or freed in its own function. */
struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn fn, void *argument);
void loop_timer_set(struct loop_timer *timer, uint64_t after_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

/*
 * Mail: a function that runs once on the loop's thread, after loop_post returned, in the order of posting per sender.
 * The sender gives up the struct (usually embedded in something larger) until its function is called.
 */
struct loop_mail {
	struct loop_mail *next;
	void (*deliver)(struct loop_mail *mail);
};

void loop_post(struct loop *loop, struct loop_mail *mail);

/*
 * Looks up `host` (a name or a numeric address) without blocking the loop: /etc/hosts, then DNS as /etc/resolv.conf
 * has it. `done` runs at home exactly once, never before loop_resolve returns, with an address and NULL, or with NULL
 * and what went wrong. Where there are several addresses, `attempt` says which, counted round.
 */
typedef void (*loop_resolve_fn)(void *argument, const struct sockaddr *address, socklen_t length, const char *failure);
void loop_resolve(struct loop *loop, const char *host, uint16_t port, unsigned attempt, loop_resolve_fn done,
		  void *argument);

#endif
