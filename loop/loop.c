#include "loop/loop.h"

#include "base/memory.h"

#include <assert.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct loop {
	struct event_base *base;
	struct evdns_base *dns;		  /* made on the first look-up of a name */
	_Atomic(struct loop_mail *) mail; /* newest first */
	atomic_bool stopping;
	int wake;
	struct event wake_event;
	struct event own_mail_event; /* delivers what the loop's own thread has posted */
	bool is_delivering;
	pthread_t home;
	bool running;
};

/* The loop that this thread runs, if it runs one. */
static _Thread_local struct loop *own_loop;

struct loop_watch {
	struct loop *loop;
	loop_watch_fn fn;
	void *argument;
	int fd;
	unsigned events;
	struct event event;
	struct event wake_event;
};

struct loop_timer {
	struct loop *loop;
	loop_timer_fn fn;
	void *argument;
	struct event event;
};

struct loop_task {
	struct loop *loop;
	loop_task_fn fn;
	void *argument;
	bool is_running;
	bool is_freed; /* while it runs */
	struct event event;
};

/* What is made active within a callback runs before the loop looks for events again; a timer of no time runs after. */
static const struct timeval no_time = {0};

static void
assert_home(const struct loop *loop)
{
	assert(!loop->running || pthread_equal(loop->home, pthread_self()));
	(void)loop;
}

static void
deliver_mail(struct loop *loop)
{
	struct loop_mail *newest = atomic_exchange_explicit(&loop->mail, NULL, memory_order_acquire);
	struct loop_mail *oldest = NULL;

	loop->is_delivering = true;
	while (newest != NULL) {
		struct loop_mail *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest != NULL) {
		struct loop_mail *next = oldest->next;

		oldest->deliver(oldest);
		oldest = next;
	}
	loop->is_delivering = false;
}

static void
on_own_mail(evutil_socket_t fd, short events, void *argument)
{
	(void)fd;
	(void)events;
	deliver_mail(argument);
}

static void
on_wake(evutil_socket_t fd, short events, void *argument)
{
	struct loop *loop = argument;
	bool stopping;
	uint64_t count;

	(void)events;
	if (read(fd, &count, sizeof(count)) < 0) {
		return;
	}
	stopping = atomic_load(&loop->stopping); /* after the read, which may have consumed loop_stop's wake-up */
	deliver_mail(loop);
	if (stopping) {
		(void)event_base_loopbreak(loop->base);
	}
}

static struct event_base *
new_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	if (config == NULL) {
		return NULL;
	}
	/* One thread uses each loop, so libevent needs no locks. */
	(void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

struct loop *
loop_new(struct error *error)
{
	struct loop *loop = memory_new(sizeof(*loop));

	loop->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->base = loop->wake < 0 ? NULL : new_base();
	if (loop->base == NULL) {
		(void)error_set(error, STATUS_INTERNAL, "cannot make an event loop: out of descriptors or memory");
		if (loop->wake >= 0) {
			(void)close(loop->wake);
		}
		free(loop);
		return NULL;
	}
	(void)event_assign(&loop->wake_event, loop->base, loop->wake, EV_READ | EV_PERSIST, on_wake, loop);
	(void)event_add(&loop->wake_event, NULL);
	(void)evtimer_assign(&loop->own_mail_event, loop->base, on_own_mail, loop);
	return loop;
}

void
loop_free(struct loop *loop)
{
	if (loop == NULL) {
		return;
	}
	if (loop->dns != NULL) {
		/* Fails pending look-ups, so that each caller's `done` is called. */
		evdns_base_free(loop->dns, 1);
		(void)event_base_loop(loop->base, EVLOOP_NONBLOCK);
	}
	deliver_mail(loop);
	(void)event_del(&loop->wake_event);
	(void)event_del(&loop->own_mail_event);
	event_base_free(loop->base);
	(void)close(loop->wake);
	free(loop);
}

void
loop_run(struct loop *loop)
{
	loop->home = pthread_self();
	loop->running = true;
	own_loop = loop;
	(void)event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
	own_loop = NULL;
	loop->running = false;
}

void
loop_turn(struct loop *loop)
{
	(void)event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
}

static void
wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t written = write(loop->wake, &one, sizeof(one));

	/* A write fails only if the counter is full: a wake-up is then pending. */
	(void)written;
}

void
loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	wake(loop);
}

void
loop_post(struct loop *loop, struct loop_mail *mail)
{
	struct loop_mail *newest = atomic_load_explicit(&loop->mail, memory_order_relaxed);

	do {
		mail->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(&loop->mail, &newest, mail, memory_order_release,
							memory_order_relaxed));
	if (newest != NULL) {
		return; /* whoever posted that has seen to its delivery */
	}
	if (own_loop != loop) {
		wake(loop);
	} else if (loop->is_delivering) {
		(void)evtimer_add(&loop->own_mail_event, &no_time); /* after other events have had their turn */
	} else {
		event_active(&loop->own_mail_event, EV_TIMEOUT, 1); /* without a system call */
	}
}

static void
on_watch(evutil_socket_t fd, short events, void *argument)
{
	struct loop_watch *watch = argument;

	(void)fd;
	watch->fn(watch->argument, ((events & EV_READ) ? LOOP_READ : 0) | ((events & EV_WRITE) ? LOOP_WRITE : 0));
}

static void
on_watch_woken(evutil_socket_t fd, short events, void *argument)
{
	struct loop_watch *watch = argument;

	(void)fd;
	(void)events;
	watch->fn(watch->argument, LOOP_READ);
}

struct loop_watch *
loop_watch_new(struct loop *loop, int fd, loop_watch_fn fn, void *argument)
{
	struct loop_watch *watch = memory_new(sizeof(*watch));

	assert_home(loop);
	watch->loop = loop;
	watch->fd = fd;
	watch->fn = fn;
	watch->argument = argument;
	(void)event_assign(&watch->event, loop->base, fd, 0, on_watch, watch);
	(void)evtimer_assign(&watch->wake_event, loop->base, on_watch_woken, watch);
	return watch;
}

void
loop_watch_set(struct loop_watch *watch, unsigned events)
{
	short flags =
		(short)(EV_PERSIST | ((events & LOOP_READ) ? EV_READ : 0) | ((events & LOOP_WRITE) ? EV_WRITE : 0));

	assert_home(watch->loop);
	if (events == watch->events) {
		return;
	}
	if (watch->events != 0) {
		(void)event_del(&watch->event);
		(void)evtimer_del(&watch->wake_event);
	}
	watch->events = events;
	if (events != 0) {
		(void)event_assign(&watch->event, watch->loop->base, watch->fd, flags, on_watch, watch);
		(void)event_add(&watch->event, NULL);
	}
}

void
loop_watch_wake(struct loop_watch *watch)
{
	assert_home(watch->loop);
	assert((watch->events & LOOP_READ) != 0);
	(void)evtimer_add(&watch->wake_event, &no_time);
}

void
loop_watch_free(struct loop_watch *watch)
{
	if (watch != NULL) {
		loop_watch_set(watch, 0);
		free(watch);
	}
}

static void
on_timer(evutil_socket_t fd, short events, void *argument)
{
	struct loop_timer *timer = argument;

	(void)fd;
	(void)events;
	timer->fn(timer->argument);
}

struct loop_timer *
loop_timer_new(struct loop *loop, loop_timer_fn fn, void *argument)
{
	struct loop_timer *timer = memory_new(sizeof(*timer));

	assert_home(loop);
	timer->loop = loop;
	timer->fn = fn;
	timer->argument = argument;
	(void)evtimer_assign(&timer->event, loop->base, on_timer, timer);
	return timer;
}

void
loop_timer_set(struct loop_timer *timer, uint64_t after_ms)
{
	struct timeval after = {.tv_sec = (time_t)(after_ms / 1000), .tv_usec = (suseconds_t)(after_ms % 1000 * 1000)};

	assert_home(timer->loop);
	(void)evtimer_add(&timer->event, &after);
}

void
loop_timer_stop(struct loop_timer *timer)
{
	assert_home(timer->loop);
	(void)evtimer_del(&timer->event);
}

void
loop_timer_free(struct loop_timer *timer)
{
	if (timer != NULL) {
		loop_timer_stop(timer);
		free(timer);
	}
}

static void
on_task(evutil_socket_t fd, short events, void *argument)
{
	struct loop_task *task = argument;

	(void)fd;
	(void)events;
	task->is_running = true;
	task->fn(task->argument);
	task->is_running = false;
	if (task->is_freed) {
		free(task);
	}
}

struct loop_task *
loop_task_new(struct loop *loop, loop_task_fn fn, void *argument)
{
	struct loop_task *task = memory_new(sizeof(*task));

	assert_home(loop);
	task->loop = loop;
	task->fn = fn;
	task->argument = argument;
	(void)event_assign(&task->event, loop->base, -1, 0, on_task, task);
	return task;
}

void
loop_task_set(struct loop_task *task)
{
	assert_home(task->loop);
	if (task->is_running) {
		(void)event_add(&task->event, &no_time);
	} else {
		event_active(&task->event, EV_TIMEOUT, 1); /* behind the events that are active already */
	}
}

void
loop_task_free(struct loop_task *task)
{
	if (task == NULL) {
		return;
	}
	(void)event_del(&task->event);
	task->is_freed = task->is_running; /* then on_task frees it */
	if (!task->is_freed) {
		free(task);
	}
}

/* A look-up. Its result is always delivered as mail, even if libevent has it at once. */
struct resolution {
	struct loop_mail mail;
	struct loop *loop;
	loop_resolve_fn done;
	void *argument;
	struct sockaddr_storage address;
	socklen_t length;
	int failure;
	unsigned attempt;
};

static void
deliver_resolution(struct loop_mail *mail)
{
	struct resolution *resolution = (struct resolution *)mail;

	if (resolution->failure == 0) {
		resolution->done(resolution->argument, (struct sockaddr *)&resolution->address, resolution->length,
				 NULL);
	} else {
		resolution->done(resolution->argument, NULL, 0,
				 resolution->failure == EVUTIL_EAI_NONAME ? "the name is not known"
									  : evutil_gai_strerror(resolution->failure));
	}
	free(resolution);
}

static const struct evutil_addrinfo *
choose(const struct evutil_addrinfo *found, unsigned attempt)
{
	const struct evutil_addrinfo *chosen = found;
	unsigned count = 0;

	for (const struct evutil_addrinfo *one = found; one != NULL; one = one->ai_next) {
		count++;
	}
	for (unsigned i = attempt % count; i > 0; i--) {
		chosen = chosen->ai_next;
	}
	return chosen;
}

static void
on_resolved(int failure, struct evutil_addrinfo *found, void *argument)
{
	struct resolution *resolution = argument;

	resolution->failure = failure;
	if (failure == 0) {
		const struct evutil_addrinfo *chosen = choose(found, resolution->attempt);

		memcpy(&resolution->address, chosen->ai_addr, chosen->ai_addrlen);
		resolution->length = chosen->ai_addrlen;
		evutil_freeaddrinfo(found);
	}
	loop_post(resolution->loop, &resolution->mail);
}

void
loop_resolve(struct loop *loop, const char *host, uint16_t port, unsigned attempt, loop_resolve_fn done, void *argument)
{
	struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
					.ai_socktype = SOCK_STREAM,
					.ai_protocol = IPPROTO_TCP,
					.ai_flags = EVUTIL_AI_NUMERICHOST};
	struct resolution *resolution = memory_new(sizeof(*resolution));
	struct evutil_addrinfo *found = NULL;
	char service[8];

	assert_home(loop);
	resolution->mail.deliver = deliver_resolution;
	resolution->loop = loop;
	resolution->done = done;
	resolution->argument = argument;
	resolution->attempt = attempt;
	(void)snprintf(service, sizeof(service), "%u", port);
	if (evutil_getaddrinfo(host, service, &hints, &found) == 0) {
		on_resolved(0, found, resolution);
		return;
	}
	if (loop->dns == NULL) {
		loop->dns = evdns_base_new(loop->base,
					   EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	}
	hints.ai_flags = 0;
	if (loop->dns == NULL) {
		on_resolved(EVUTIL_EAI_FAIL, NULL, resolution);
	} else {
		(void)evdns_getaddrinfo(loop->dns, host, service, &hints, on_resolved, resolution);
	}
}
