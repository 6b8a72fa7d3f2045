#include "inference/cache/cache_host.h"

#include "base/memory.h"

#include <stdlib.h>

_Static_assert(CACHE_READ == LOOP_READ && CACHE_WRITE == LOOP_WRITE, "events are passed on as they are");

static void *
host_watch_new(void *context, int fd, void (*fn)(void *argument, unsigned events), void *argument)
{
	return loop_watch_new(context, fd, fn, argument);
}

static void
host_watch_set(void *watch, unsigned events)
{
	loop_watch_set(watch, events);
}

static void
host_watch_free(void *watch)
{
	loop_watch_free(watch);
}

static void *
host_timer_new(void *context, void (*fn)(void *argument), void *argument)
{
	return loop_timer_new(context, fn, argument);
}

static void
host_timer_set(void *timer, uint64_t after_ms)
{
	loop_timer_set(timer, after_ms);
}

static void
host_timer_free(void *timer)
{
	loop_timer_free(timer);
}

static void
host_resolve(void *context, const char *name, uint16_t port, unsigned attempt,
	     void (*done)(void *argument, const struct sockaddr *address, socklen_t length, const char *failure),
	     void *argument)
{
	loop_resolve(context, name, port, attempt, done, argument);
}

static void
host_log(enum log_level level, const char *text)
{
	log_at(level, "%s", text);
}

struct errand {
	struct offload_work offloaded; /* first */
	struct cache_work *work;
};

static void
on_run(struct offload_work *offloaded)
{
	struct cache_work *work = ((struct errand *)offloaded)->work;

	work->run(work);
}

static void
on_done(struct offload_work *offloaded)
{
	struct cache_work *work = ((struct errand *)offloaded)->work;

	free(offloaded);
	work->done(work);
}

static void
host_offload(void *context, struct cache_work *work, size_t size)
{
	const struct cache_host_offload *to = context;
	struct errand *errand = memory_new(sizeof(*errand));

	*errand = (struct errand){.offloaded = {.loop = to->loop, .size = size, .run = on_run, .done = on_done},
				  .work = work};
	offload_post(to->offload, &errand->offloaded);
}

void
cache_host_init(struct cache_host *host, struct loop *loop, struct cache_host_offload *offload)
{
	*host = (struct cache_host){
		.context = loop,
		.watch_new = host_watch_new,
		.watch_set = host_watch_set,
		.watch_free = host_watch_free,
		.timer_new = host_timer_new,
		.timer_set = host_timer_set,
		.timer_free = host_timer_free,
		.resolve = host_resolve,
		.offload = offload == NULL ? NULL : host_offload,
		.offload_context = offload,
		.log = host_log,
	};
}
