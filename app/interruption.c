#include "app/interruption.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static sigset_t
signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	return set;
}

static void
on_signal(void *argument, unsigned events)
{
	struct interruption *interruption = argument;
	const sigset_t set = signals();
	struct signalfd_siginfo signal;

	(void)events;
	if (read(interruption->fd, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
		interruption->is_stopped = true;
		(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	}
}

enum status
interruption_watch(struct interruption *interruption, struct loop *loop, struct error *error)
{
	const sigset_t set = signals();

	*interruption = (struct interruption){0};
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	interruption->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (interruption->fd < 0) {
		return error_set(error, STATUS_UNAVAILABLE, "signals cannot be watched: %s", strerror(errno));
	}
	interruption->watch = loop_watch_new(loop, interruption->fd, on_signal, interruption);
	loop_watch_set(interruption->watch, LOOP_READ);
	return STATUS_OK;
}

void
interruption_end(struct interruption *interruption)
{
	if (interruption->watch != NULL) {
		loop_watch_free(interruption->watch);
		(void)close(interruption->fd);
		interruption->watch = NULL;
	}
}
