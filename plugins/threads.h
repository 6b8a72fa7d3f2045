/*
 * A thread inside somebody else's process: it takes no signals, so that they go where its host wants them.
 */
#ifndef HIPPOCAMP_PLUGINS_THREADS_H
#define HIPPOCAMP_PLUGINS_THREADS_H

#include <pthread.h>
#include <stdbool.h>

/* `name` is cut at 15 characters. False where there can be no more threads. */
bool thread_begin(pthread_t *thread, const char *name, void *(*run)(void *argument), void *argument);

/*
 * Around writes to a socket on a thread of the host's. A peer that is gone raises SIGPIPE, which ends a process that
 * does not expect it; most hosts ignore it, and then this costs nothing.
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
