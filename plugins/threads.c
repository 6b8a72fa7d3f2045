#include "plugins/threads.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

bool
thread_begin(pthread_t *thread, const char *name, void *(*run)(void *argument), void *argument)
{
	char cut[16];
	sigset_t all;
	sigset_t before;
	bool begun;

	/* All but the signals of faults in the thread itself: blocking those would hide the fault. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGSEGV);
	(void)sigdelset(&all, SIGBUS);
	(void)sigdelset(&all, SIGFPE);
	(void)sigdelset(&all, SIGILL);
	(void)sigdelset(&all, SIGABRT);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	begun = pthread_create(thread, NULL, run, argument) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (begun) {
		(void)snprintf(cut, sizeof(cut), "%s", name);
		(void)pthread_setname_np(*thread, cut);
	}
	return begun;
}

bool
pipe_guard_is_needed(void)
{
	struct sigaction action;

	return sigaction(SIGPIPE, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
	       action.sa_handler == SIG_DFL;
}

static bool
is_pending(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

struct pipe_guard
pipe_guard_begin(bool needed)
{
	struct pipe_guard guard = {.needed = needed};
	sigset_t pipe;
	sigset_t before;

	if (needed) {
		(void)sigemptyset(&pipe);
		(void)sigaddset(&pipe, SIGPIPE);
		(void)pthread_sigmask(SIG_BLOCK, &pipe, &before);
		guard.was_blocked = sigismember(&before, SIGPIPE) == 1;
		guard.was_pending = is_pending();
	}
	return guard;
}

/* Consumes the signal that was raised meanwhile, unless one was pending before. */
void
pipe_guard_end(const struct pipe_guard *guard)
{
	sigset_t pipe;

	if (!guard->needed) {
		return;
	}
	(void)sigemptyset(&pipe);
	(void)sigaddset(&pipe, SIGPIPE);
	if (!guard->was_pending && is_pending()) {
		(void)sigtimedwait(&pipe, NULL, &(struct timespec){0});
	}
	if (!guard->was_blocked) {
		(void)pthread_sigmask(SIG_UNBLOCK, &pipe, NULL);
	}
}
