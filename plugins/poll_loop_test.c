#include "plugins/poll_loop.h"

#include "base/clock.h"
#include "base/unit_test.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOUR_NS UINT64_C(3600000000000)

/* A watch, timer or name of a lane, and what happened to it. */
struct thing {
	const struct cache_host *host;
	void *watch;
	void *timer;
	int fd;
	unsigned events;
	unsigned calls;
	bool frees;
	bool resolved;
	uint16_t port;
	char failure[128];
};

static void
on_event(void *argument, unsigned events)
{
	struct thing *thing = argument;

	thing->events |= events;
	thing->calls++;
	if (thing->frees) {
		thing->host->watch_free(thing->watch);
		thing->watch = NULL;
	}
}

static void
on_timer(void *argument)
{
	struct thing *thing = argument;

	thing->calls++;
	if (thing->frees) {
		thing->host->timer_free(thing->timer);
		thing->timer = NULL;
	}
}

static void
on_resolved(void *argument, const struct sockaddr *address, socklen_t length, const char *failure)
{
	struct thing *thing = argument;

	thing->resolved = true;
	thing->calls++;
	if (address != NULL) {
		assert_true(length >= sizeof(struct sockaddr));
		thing->port = (uint16_t)(address->sa_data[0] << 8 | (uint8_t)address->sa_data[1]);
	} else {
		(void)strncpy(thing->failure, failure, sizeof(thing->failure) - 1);
	}
}

/* One turn, without waiting. */
static void
turn(struct poll_loop *loop)
{
	poll_loop_glance(loop);
}

static void
test_watches(void **state)
{
	struct poll_loop *loop = poll_loop_new();
	const struct cache_host *host = poll_loop_host(loop);
	int ends[2];
	struct thing thing = {.host = host};

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	thing.watch = host->watch_new(host->context, ends[0], on_event, &thing);
	turn(loop);
	assert_int_equal(thing.calls, 0);
	host->watch_set(thing.watch, CACHE_READ);
	turn(loop);
	assert_int_equal(thing.calls, 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	turn(loop);
	turn(loop); /* as long as it is not read */
	assert_int_equal(thing.calls, 2);
	assert_int_equal(thing.events, CACHE_READ);
	host->watch_set(thing.watch, CACHE_WRITE);
	turn(loop);
	assert_int_equal(thing.events, CACHE_READ | CACHE_WRITE);
	(void)close(ends[1]);
	thing = (struct thing){.host = host, .watch = thing.watch, .frees = true};
	host->watch_set(thing.watch, CACHE_READ | CACHE_WRITE);
	turn(loop); /* both, in one call: the next read or write finds the error */
	assert_int_equal(thing.calls, 1);
	turn(loop);
	assert_int_equal(thing.calls, 1);
	(void)close(ends[0]);
	poll_loop_free(loop);
}

/* Between the wait and the turn another thread frees a watch and makes another one for the same descriptor. */
static void
test_events_of_the_dead(void **state)
{
	struct poll_loop *loop = poll_loop_new();
	const struct cache_host *host = poll_loop_host(loop);
	struct poll_set set = {0};
	struct thing old = {.host = host};
	struct thing new = {.host = host};
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(write(ends[1], "x", 1), 1);
	old.watch = host->watch_new(host->context, ends[0], on_event, &old);
	host->watch_set(old.watch, CACHE_READ);
	poll_set_clear(&set, clock_now_ns() + HOUR_NS);
	poll_loop_collect(loop, &set);
	poll_set_wait(&set);
	host->watch_free(old.watch);
	new.watch = host->watch_new(host->context, ends[0], on_event, &new);
	host->watch_set(new.watch, CACHE_READ);
	poll_loop_turn(loop, &set, 0, set.count);
	assert_int_equal(old.calls + new.calls, 0);
	turn(loop);
	assert_int_equal(new.calls, 1);
	host->watch_free(new.watch);
	(void)close(ends[0]);
	(void)close(ends[1]);
	poll_set_fini(&set);
	poll_loop_free(loop);
}

static void
test_timers(void **state)
{
	struct poll_loop *loop = poll_loop_new();
	const struct cache_host *host = poll_loop_host(loop);
	struct poll_set set = {0};
	struct thing soon = {.host = host};
	struct thing late = {.host = host};

	(void)state;
	soon.timer = host->timer_new(host->context, on_timer, &soon);
	late.timer = host->timer_new(host->context, on_timer, &late);
	host->timer_set(late.timer, 3600000);
	host->timer_set(soon.timer, 0);
	poll_set_clear(&set, clock_now_ns() + 2 * HOUR_NS);
	poll_loop_collect(loop, &set);
	assert_true(set.until_ns <= clock_now_ns());
	turn(loop);
	turn(loop);
	assert_int_equal(soon.calls, 1);
	poll_set_clear(&set, clock_now_ns() + 2 * HOUR_NS);
	poll_loop_collect(loop, &set);
	assert_true(set.until_ns > clock_now_ns() && set.until_ns <= clock_now_ns() + HOUR_NS);
	soon.frees = true;
	host->timer_set(soon.timer, 0);
	turn(loop);
	assert_null(soon.timer);
	assert_int_equal(soon.calls, 2);
	host->timer_free(late.timer);
	assert_int_equal(late.calls, 0);
	poll_set_fini(&set);
	poll_loop_free(loop);
}

/* Is a wait for the set woken? */
static bool
is_woken(struct poll_loop *loop, struct poll_set *set)
{
	(void)loop;
	set->until_ns = 0;
	poll_set_wait(set);
	return set->at[0].revents != 0;
}

/* The waiting thread is woken only for what it does not wait for yet. */
static void
test_used(void **state)
{
	struct poll_loop *loop = poll_loop_new();
	const struct cache_host *host = poll_loop_host(loop);
	struct poll_set set = {0};
	struct thing thing = {.host = host};
	struct thing timer = {.host = host};
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	thing.watch = host->watch_new(host->context, ends[0], on_event, &thing);
	timer.timer = host->timer_new(host->context, on_timer, &timer);
	host->watch_set(thing.watch, CACHE_READ);
	host->timer_set(timer.timer, 1000000);
	poll_set_clear(&set, UINT64_MAX);
	poll_loop_collect(loop, &set);
	poll_loop_used(loop);
	host->timer_set(timer.timer, 2000000);
	poll_loop_used(loop);
	assert_false(is_woken(loop, &set));
	host->watch_set(thing.watch, CACHE_READ | CACHE_WRITE);
	poll_loop_used(loop);
	assert_int_equal(thing.events, CACHE_WRITE); /* it could be written at once */
	host->watch_set(thing.watch, CACHE_READ);
	turn(loop);
	poll_set_clear(&set, UINT64_MAX);
	poll_loop_collect(loop, &set);
	host->timer_set(timer.timer, 1000);
	poll_loop_used(loop);
	assert_true(is_woken(loop, &set));
	host->watch_free(thing.watch);
	host->timer_free(timer.timer);
	(void)close(ends[0]);
	(void)close(ends[1]);
	poll_set_fini(&set);
	poll_loop_free(loop);
}

static void
test_names(void **state)
{
	struct poll_loop *loop = poll_loop_new();
	const struct cache_host *host = poll_loop_host(loop);
	struct poll_set set = {0};
	struct thing numeric = {0};
	struct thing left = {0};

	(void)state;
	host->resolve(host->context, "127.0.0.1", 6379, 5, on_resolved, &numeric);
	assert_false(numeric.resolved); /* never before it returns */
	poll_set_clear(&set, UINT64_MAX);
	poll_loop_collect(loop, &set);
	assert_int_equal(set.until_ns, 0); /* an answer is ready */
	turn(loop);
	assert_int_equal(numeric.port, 6379);
	host->resolve(host->context, "::1", 6380, 0, on_resolved, &left);
	poll_set_fini(&set);
	poll_loop_free(loop); /* exactly once, even so */
	assert_int_equal(left.calls, 1);
	assert_string_equal(left.failure, "shutting down");
	assert_int_equal(numeric.calls, 1);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watches), cmocka_unit_test(test_events_of_the_dead),
		cmocka_unit_test(test_timers),	cmocka_unit_test(test_used),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
