/* Threads in the process of a host: they block signals, so that the host's own threads get them. */
#ifndef HIPPOCAMP_PLUGINS_THREADS_H
#define HIPPOCAMP_PLUGINS_THREADS_H

#include <pthread.h>
#include <stdbool.h>

/* `name` is cut at 15 characters. False if no thread can be started. */
bool thread_begin(pthread_t *thread, const char *name, void *(*run)(void *argument), void *argument);

/*
 * Protects writes to a socket on a thread of the host. A closed peer raises SIGPIPE, which ends a process that does not
 * expect it. Most hosts ignore SIGPIPE; then no guard is needed, and it costs nothing.
 */
struct pipe_guard {
	bool needed;
	bool was_blocked;
	bool was_pending;
};

struct pipe_guard pipe_guard_begin(bool needed);
void pipe_guard_end(const struct pipe_guard *guard);

/* Would SIGPIPE end the process? */
bool pipe_guard_is_needed(void);

#endif
