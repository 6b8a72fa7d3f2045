#include "loop/thread.h"

#include "base/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pthread_t
thread_start(const char *name, void *(*run)(void *), void *argument)
{
	char short_name[16];
	sigset_t blocked;
	sigset_t before;
	pthread_t thread;
	int failure;

	fault_set_others(&blocked);
	(void)pthread_sigmask(SIG_SETMASK, &blocked, &before);
	failure = pthread_create(&thread, NULL, run, argument);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failure != 0) {
		(void)fprintf(stderr, "hippocamp: cannot start thread '%s': %s\n", name, strerror(failure));
		abort();
	}
	(void)snprintf(short_name, sizeof(short_name), "%s", name);
	(void)pthread_setname_np(thread, short_name);
	return thread;
}
