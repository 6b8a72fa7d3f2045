#include "plugins/poll_loop.h"

#include "base/clock.h"
#include "plugins/resolver.h"
#include "plugins/triton.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#define SHORT_NS UINT64_C(10000000)

struct watch {
	struct poll_loop *loop;
	uint64_t number;
	int fd; /* -1: freed; removed after the turn */
	short events;
	short collected; /* the events that are waited for */
	void (*fn)(void *argument, unsigned events);
	void *argument;
	TAILQ_ENTRY(watch) list;
};

struct timer {
	struct poll_loop *loop;
	uint64_t due_ns; /* 0: not set */
	bool freed;
	void (*fn)(void *argument);
	void *argument;
	TAILQ_ENTRY(timer) list;
};

typedef void (*resolved_fn)(void *argument, const struct sockaddr *address, socklen_t length, const char *failure);

/* A name that a lane asked for. The loop or the resolver frees it, whichever ends last; the resolution is counted. */
struct question {
	struct resolution *resolution;
	struct poll_loop *loop; /* guarded by `mutex`; NULL: the loop is gone */
	unsigned attempt;
	resolved_fn done;
	void *argument;
	bool answered; /* guarded by `mutex` */
	TAILQ_ENTRY(question) list;
};

struct poll_loop {
	struct cache_host host;
	TAILQ_HEAD(, watch) watches;
	TAILQ_HEAD(, timer) timers;
	TAILQ_HEAD(, question) questions;
	uint64_t last_number;
	bool turning;
	uint64_t collected_until_ns; /* the next timer at the last collect */
	bool sooner;		     /* an earlier one was set since */
	int wake_fd;
};

/* Guards questions, which loops and the resolver's threads share. Held for moments only, so one for all is enough. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* --- Sets --- */

void
poll_set_clear(struct poll_set *set, uint64_t until_ns)
{
	set->count = 0;
	set->until_ns = until_ns;
}

void
poll_set_fini(struct poll_set *set)
{
	free(set->at);
	free(set->watches);
	*set = (struct poll_set){0};
}

static bool
grow(struct poll_set *set)
{
	size_t capacity = set->capacity == 0 ? 16 : set->capacity * 2;
	struct pollfd *at = reallocarray(set->at, capacity, sizeof(*at));
	uint64_t *watches;

	if (at == NULL) {
		return false;
	}
	set->at = at;
	watches = reallocarray(set->watches, capacity, sizeof(*watches));
	if (watches == NULL) {
		return false;
	}
	set->watches = watches;
	set->capacity = capacity;
	return true;
}

void
poll_set_add(struct poll_set *set, int fd, short events, uint64_t watch)
{
	if (set->count == set->capacity && !grow(set)) {
		uint64_t soon = clock_now_ns() + SHORT_NS;

		set->until_ns = set->until_ns < soon ? set->until_ns : soon;
		return;
	}
	set->at[set->count] = (struct pollfd){.fd = fd, .events = events};
	set->watches[set->count++] = watch;
}

void
poll_set_wait(struct poll_set *set)
{
	uint64_t now = clock_now_ns();
	uint64_t left = set->until_ns > now ? set->until_ns - now : 0;
	struct timespec time = {.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};

	if (ppoll(set->at, set->count, &time, NULL) <= 0) {
		for (size_t i = 0; i < set->count; i++) {
			set->at[i].revents = 0;
		}
	}
}

/* --- Watches --- */

static void *
watch_new(void *context, int fd, void (*fn)(void *argument, unsigned events), void *argument)
{
	struct poll_loop *loop = context;
	struct watch *watch = calloc(1, sizeof(*watch));

	if (watch != NULL) {
		*watch = (struct watch){
			.loop = loop, .number = ++loop->last_number, .fd = fd, .fn = fn, .argument = argument};
		TAILQ_INSERT_TAIL(&loop->watches, watch, list);
	}
	return watch;
}

static void
watch_set(void *argument, unsigned events)
{
	struct watch *watch = argument;

	watch->events =
		(short)(((events & CACHE_READ) != 0 ? POLLIN : 0) | ((events & CACHE_WRITE) != 0 ? POLLOUT : 0));
}

static void
reap_watch(struct poll_loop *loop, struct watch *watch)
{
	TAILQ_REMOVE(&loop->watches, watch, list);
	free(watch);
}

static void
watch_free(void *argument)
{
	struct watch *watch = argument;

	if (watch == NULL) {
		return;
	}
	if (watch->loop->turning) {
		watch->fd = -1;
	} else {
		reap_watch(watch->loop, watch);
	}
}

/* --- Timers --- */

static void *
timer_new(void *context, void (*fn)(void *argument), void *argument)
{
	struct poll_loop *loop = context;
	struct timer *timer = calloc(1, sizeof(*timer));

	if (timer != NULL) {
		*timer = (struct timer){.loop = loop, .fn = fn, .argument = argument};
		TAILQ_INSERT_TAIL(&loop->timers, timer, list);
	}
	return timer;
}

static void
timer_set(void *argument, uint64_t after_ms)
{
	struct timer *timer = argument;

	timer->due_ns = clock_now_ns() + after_ms * NS_PER_MS;
	if (timer->due_ns < timer->loop->collected_until_ns) {
		timer->loop->sooner = true;
	}
}

static void
reap_timer(struct poll_loop *loop, struct timer *timer)
{
	TAILQ_REMOVE(&loop->timers, timer, list);
	free(timer);
}

static void
timer_free(void *argument)
{
	struct timer *timer = argument;

	if (timer == NULL) {
		return;
	}
	if (timer->loop->turning) {
		timer->freed = true;
		timer->due_ns = 0;
	} else {
		reap_timer(timer->loop, timer);
	}
}

/* --- Names --- */

static void
free_question(struct question *question)
{
	if (question->resolution != NULL) {
		resolution_unref(question->resolution);
	}
	free(question);
}

/* On the resolver's thread. */
static void
on_resolved(struct resolution *resolution)
{
	struct question *question = resolution->context;
	bool orphan;

	(void)pthread_mutex_lock(&mutex);
	question->answered = true;
	orphan = question->loop == NULL;
	if (!orphan) {
		poll_loop_wake(question->loop);
	}
	(void)pthread_mutex_unlock(&mutex);
	if (orphan) {
		free_question(question);
	}
	resolution_unref(resolution);
}

static void
resolve(void *context, const char *name, uint16_t port, unsigned attempt, resolved_fn done, void *argument)
{
	struct poll_loop *loop = context;
	struct question *question = calloc(1, sizeof(*question));

	if (question == NULL) {
		return; /* no memory: the asker gives up after its own timeout */
	}
	*question = (struct question){.loop = loop, .attempt = attempt, .done = done, .argument = argument};
	question->resolution = resolution_new(name, port);
	TAILQ_INSERT_TAIL(&loop->questions, question, list);
	if (question->resolution == NULL || resolution_is_numeric(question->resolution)) {
		question->answered = true;
		return;
	}
	question->resolution->resolved = on_resolved;
	question->resolution->context = question;
	if (!resolver_ask(question->resolution)) {
		question->answered = true;
	}
}

static const struct addrinfo *
choose(const struct resolution *resolution, unsigned attempt)
{
	const struct addrinfo *address = resolution == NULL ? NULL : resolution->addresses;
	unsigned count = 0;

	for (const struct addrinfo *each = address; each != NULL; each = each->ai_next) {
		count++;
	}
	for (unsigned skip = count == 0 ? 0 : attempt % count; skip > 0; skip--) {
		address = address->ai_next;
	}
	return address;
}

static void
answer(struct question *question, const char *failure)
{
	const struct addrinfo *address = failure == NULL ? choose(question->resolution, question->attempt) : NULL;

	if (address != NULL) {
		question->done(question->argument, address->ai_addr, address->ai_addrlen, NULL);
	} else if (failure == NULL && question->resolution != NULL) {
		question->done(question->argument, NULL, 0, question->resolution->failure);
	} else {
		question->done(question->argument, NULL, 0, failure == NULL ? "no memory" : failure);
	}
}

static struct question *
next_answered(struct poll_loop *loop)
{
	struct question *question;

	if (TAILQ_EMPTY(&loop->questions)) {
		return NULL;
	}
	(void)pthread_mutex_lock(&mutex);
	TAILQ_FOREACH (question, &loop->questions, list) {
		if (question->answered) {
			break;
		}
	}
	(void)pthread_mutex_unlock(&mutex);
	return question;
}

static void
give_names(struct poll_loop *loop)
{
	struct question *question;

	while ((question = next_answered(loop)) != NULL) {
		TAILQ_REMOVE(&loop->questions, question, list);
		answer(question, NULL);
		free_question(question);
	}
}

/* If the resolver still works on a question, it frees the question. */
static void
leave_questions(struct poll_loop *loop)
{
	struct question *question;

	while ((question = TAILQ_FIRST(&loop->questions)) != NULL) {
		bool answered;

		answer(question, "shutting down");
		TAILQ_REMOVE(&loop->questions, question, list);
		(void)pthread_mutex_lock(&mutex);
		answered = question->answered;
		question->loop = NULL;
		(void)pthread_mutex_unlock(&mutex);
		if (answered) {
			free_question(question);
		}
	}
}

/* --- Turns --- */

void
poll_loop_collect(struct poll_loop *loop, struct poll_set *set)
{
	struct watch *watch;
	struct timer *timer;

	poll_set_add(set, loop->wake_fd, POLLIN, 0);
	TAILQ_FOREACH (watch, &loop->watches, list) {
		watch->collected = watch->events;
		if (watch->events != 0) {
			poll_set_add(set, watch->fd, watch->events, watch->number);
		}
	}
	loop->collected_until_ns = UINT64_MAX;
	TAILQ_FOREACH (timer, &loop->timers, list) {
		if (timer->due_ns != 0 && timer->due_ns < loop->collected_until_ns) {
			loop->collected_until_ns = timer->due_ns;
		}
	}
	loop->sooner = false;
	if (next_answered(loop) != NULL) {
		set->until_ns = 0;
	} else if (loop->collected_until_ns < set->until_ns) {
		set->until_ns = loop->collected_until_ns;
	}
}

static void
give_event(struct poll_loop *loop, uint64_t number, short happened)
{
	struct watch *watch;
	unsigned events = 0;

	TAILQ_FOREACH (watch, &loop->watches, list) {
		if (watch->number == number && watch->fd >= 0) {
			break;
		}
	}
	if (watch == NULL) {
		return; /* freed meanwhile */
	}
	if ((happened & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
		happened = POLLIN | POLLOUT; /* the next read or write finds the error */
	}
	events |= (happened & watch->events & POLLIN) != 0 ? CACHE_READ : 0;
	events |= (happened & watch->events & POLLOUT) != 0 ? CACHE_WRITE : 0;
	if (events != 0) {
		watch->fn(watch->argument, events);
	}
}

static void
give_timers(struct poll_loop *loop)
{
	uint64_t now = clock_now_ns();
	struct timer *timer;

	TAILQ_FOREACH (timer, &loop->timers, list) {
		if (timer->due_ns != 0 && timer->due_ns <= now) {
			timer->due_ns = 0;
			timer->fn(timer->argument);
		}
	}
}

static void
reap(struct poll_loop *loop)
{
	struct watch *watch;
	struct watch *next_watch;
	struct timer *timer;
	struct timer *next_timer;

	for (watch = TAILQ_FIRST(&loop->watches); watch != NULL; watch = next_watch) {
		next_watch = TAILQ_NEXT(watch, list);
		if (watch->fd < 0) {
			reap_watch(loop, watch);
		}
	}
	for (timer = TAILQ_FIRST(&loop->timers); timer != NULL; timer = next_timer) {
		next_timer = TAILQ_NEXT(timer, list);
		if (timer->freed) {
			reap_timer(loop, timer);
		}
	}
}

void
poll_loop_turn(struct poll_loop *loop, const struct poll_set *set, size_t first, size_t count)
{
	eventfd_t value;

	loop->turning = true;
	for (size_t i = first; i < first + count; i++) {
		if (set->at[i].revents != 0 && set->watches[i] == 0) {
			(void)eventfd_read(loop->wake_fd, &value);
		} else if (set->at[i].revents != 0) {
			give_event(loop, set->watches[i], set->at[i].revents);
		}
	}
	give_names(loop);
	give_timers(loop);
	loop->turning = false;
	reap(loop);
}

void
poll_loop_glance(struct poll_loop *loop)
{
	struct poll_set set = {0};

	poll_loop_collect(loop, &set);
	set.until_ns = 0;
	poll_set_wait(&set);
	poll_loop_turn(loop, &set, 0, set.count);
	poll_set_fini(&set);
}

static void
write_what_can_be(struct poll_loop *loop)
{
	struct poll_set set = {0};
	struct watch *watch;

	TAILQ_FOREACH (watch, &loop->watches, list) {
		if ((watch->events & POLLOUT) != 0) {
			poll_set_add(&set, watch->fd, POLLOUT, watch->number);
		}
	}
	if (set.count > 0) {
		set.until_ns = 0;
		poll_set_wait(&set);
		loop->turning = true;
		for (size_t i = 0; i < set.count; i++) {
			if (set.at[i].revents != 0) {
				give_event(loop, set.watches[i], POLLOUT);
			}
		}
		loop->turning = false;
		reap(loop);
	}
	poll_set_fini(&set);
}

/* Does a watch want one of these events that is not waited for yet? */
static bool
is_unwatched(const struct poll_loop *loop, short events)
{
	const struct watch *watch;

	TAILQ_FOREACH (watch, &loop->watches, list) {
		if ((watch->events & ~watch->collected & events) != 0) {
			return true;
		}
	}
	return false;
}

void
poll_loop_used(struct poll_loop *loop)
{
	if (is_unwatched(loop, POLLOUT)) {
		write_what_can_be(loop);
	}
	if (is_unwatched(loop, POLLIN | POLLOUT) || loop->sooner || next_answered(loop) != NULL) {
		poll_loop_wake(loop);
	}
}

void
poll_loop_wake(struct poll_loop *loop)
{
	(void)eventfd_write(loop->wake_fd, 1);
}

/* --- Creating and freeing --- */

struct poll_loop *
poll_loop_new(void)
{
	struct poll_loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL) {
		return NULL;
	}
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0) {
		free(loop);
		return NULL;
	}
	TAILQ_INIT(&loop->watches);
	TAILQ_INIT(&loop->timers);
	TAILQ_INIT(&loop->questions);
	loop->host = (struct cache_host){
		.context = loop,
		.watch_new = watch_new,
		.watch_set = watch_set,
		.watch_free = watch_free,
		.timer_new = timer_new,
		.timer_set = timer_set,
		.timer_free = timer_free,
		.resolve = resolve,
		.log = triton_log,
	};
	return loop;
}

void
poll_loop_free(struct poll_loop *loop)
{
	if (loop != NULL) {
		leave_questions(loop);
		(void)close(loop->wake_fd);
		free(loop);
	}
}

const struct cache_host *
poll_loop_host(const struct poll_loop *loop)
{
	return &loop->host;
}
