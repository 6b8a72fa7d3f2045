#include "loop/loop.h"

#include "base/unit_test.h"
#include "loop/thread.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#define SENDERS 4
#define LETTERS 2000

static struct {
	struct loop *loop;
	size_t count;
	int order[8];
	bool wrong;
} this;

static int
setup(void **state)
{
	struct error error;

	(void)state;
	memset(&this, 0, sizeof(this));
	this.loop = loop_new(&error);
	assert_non_null(this.loop);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	loop_free(this.loop);
	return 0;
}

/* --- Mail --- */

struct letter {
	struct loop_mail mail; /* first */
	int number;
	size_t *next;	 /* what its sender's next one must have; NULL: `order` says how they came */
	bool posts_more; /* itself, once */
	bool stops;
};

static void
deliver(struct loop_mail *mail)
{
	struct letter *letter = (struct letter *)mail;

	if (letter->next == NULL) {
		this.order[this.count] = letter->number;
	} else {
		this.wrong = this.wrong || (size_t)letter->number != *letter->next;
		(*letter->next)++;
	}
	this.count++;
	if (letter->posts_more) {
		letter->posts_more = false;
		loop_post(this.loop, mail);
		this.wrong = this.wrong || this.count != 1; /* not delivered inside loop_post */
	} else if (letter->stops || this.count == (size_t)SENDERS * LETTERS) {
		loop_stop(this.loop);
	}
}

static void
test_mail_comes_in_order(void **state)
{
	struct letter letters[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		letters[i] = (struct letter){.mail = {.deliver = deliver}, .number = i, .stops = i == 2};
		loop_post(this.loop, &letters[i].mail);
	}
	assert_int_equal(this.count, 0);
	loop_run(this.loop);
	assert_int_equal(this.count, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(this.order[i], i);
	}
}

static void
test_mail_that_posts_mail(void **state)
{
	struct letter letter = {.mail = {.deliver = deliver}, .posts_more = true, .stops = true};

	(void)state;
	loop_post(this.loop, &letter.mail);
	loop_run(this.loop);
	assert_int_equal(this.count, 2);
	assert_false(this.wrong);
}

struct sender {
	struct letter letters[LETTERS];
	size_t next;
};

static void *
send_all(void *argument)
{
	struct sender *sender = argument;

	for (int i = 0; i < LETTERS; i++) {
		sender->letters[i] = (struct letter){.mail = {.deliver = deliver}, .number = i, .next = &sender->next};
		loop_post(this.loop, &sender->letters[i].mail);
	}
	return NULL;
}

/* Each letter comes once, and those of one sender in its order, while all send and the loop runs. */
static void
test_mail_from_many_threads(void **state)
{
	static struct sender senders[SENDERS];
	pthread_t threads[SENDERS];

	(void)state;
	memset(senders, 0, sizeof(senders));
	for (size_t i = 0; i < SENDERS; i++) {
		threads[i] = thread_start("sender", send_all, &senders[i]);
	}
	loop_run(this.loop);
	for (size_t i = 0; i < SENDERS; i++) {
		(void)pthread_join(threads[i], NULL);
		assert_int_equal(senders[i].next, LETTERS);
	}
	assert_false(this.wrong);
}

/* What was posted before loop_stop is delivered, and what comes after it is when the loop is freed. */
static void
test_no_mail_is_lost_at_the_end(void **state)
{
	struct letter before = {.mail = {.deliver = deliver}, .number = 1};
	struct letter after = {.mail = {.deliver = deliver}, .number = 2};
	struct error error;

	(void)state;
	loop_post(this.loop, &before.mail);
	loop_stop(this.loop);
	loop_run(this.loop);
	assert_int_equal(this.count, 1);
	loop_post(this.loop, &after.mail);
	loop_free(this.loop);
	assert_int_equal(this.count, 2);
	this.loop = loop_new(&error);
}

/* --- Timers --- */

struct alarm {
	struct loop_timer *timer;
	struct loop_timer *stopped; /* by this one's function */
	int number;
	unsigned again; /* so many times more */
	bool frees;
	bool stops;
};

static void
ring(void *argument)
{
	struct alarm *alarm = argument;

	this.order[this.count++] = alarm->number;
	if (alarm->stopped != NULL) {
		loop_timer_stop(alarm->stopped);
	}
	if (alarm->again > 0) {
		alarm->again--;
		loop_timer_set(alarm->timer, 0);
	} else if (alarm->frees) {
		loop_timer_free(alarm->timer);
		alarm->timer = NULL;
	}
	if (alarm->stops) {
		loop_stop(this.loop);
	}
}

static void
set_alarm(struct alarm *alarm, uint64_t after_ms)
{
	if (alarm->timer == NULL) {
		alarm->timer = loop_timer_new(this.loop, ring, alarm);
	}
	loop_timer_set(alarm->timer, after_ms);
}

static void
test_timers(void **state)
{
	struct alarm first = {.number = 1, .again = 2, .frees = true};
	struct alarm moved = {.number = 2};
	struct alarm never = {.number = 3};
	struct alarm last = {.number = 4, .stops = true};

	(void)state;
	set_alarm(&never, 3);
	set_alarm(&moved, 60000);
	set_alarm(&first, 0);
	set_alarm(&moved, 1); /* one shot, sooner than it was */
	first.stopped = never.timer;
	set_alarm(&last, 10);
	loop_run(this.loop);
	assert_null(first.timer);
	loop_timer_free(moved.timer);
	loop_timer_free(never.timer);
	loop_timer_free(last.timer);
	assert_int_equal(this.count, 5);
	assert_int_equal(this.order[0], 1);
	assert_int_equal(this.order[4], 4);
	for (size_t i = 0; i < this.count; i++) {
		assert_int_not_equal(this.order[i], 3);
	}
}

/* --- Watches --- */

struct watched {
	struct loop_watch *watch;
	int fd;
	unsigned seen;
};

static void
on_event(void *argument, unsigned events)
{
	struct watched *watched = argument;
	char byte;

	watched->seen |= events;
	this.count++;
	if (events == LOOP_WRITE) { /* level-triggered: it comes again, until it is not wanted any more */
		if (this.count == 2) {
			loop_watch_set(watched->watch, LOOP_READ);
			assert_int_equal(write(watched[1].fd, "x", 1), 1);
		}
		return;
	}
	assert_int_equal(read(watched->fd, &byte, 1), 1);
	loop_watch_free(watched->watch);
	watched->watch = NULL;
	loop_stop(this.loop);
}

static void
test_watches(void **state)
{
	struct watched ends[2] = {0};
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	ends[0] = (struct watched){.watch = loop_watch_new(this.loop, pair[0], on_event, ends), .fd = pair[0]};
	ends[1].fd = pair[1];
	loop_watch_set(ends[0].watch, LOOP_WRITE);
	loop_run(this.loop);
	assert_null(ends[0].watch);
	assert_int_equal(this.count, 3);
	assert_int_equal(ends[0].seen, LOOP_READ | LOOP_WRITE);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void
count_wake(void *argument, unsigned events)
{
	struct watched *woken = argument;

	assert_int_equal(events, LOOP_READ);
	this.count++;
	loop_watch_free(woken->watch);
	loop_stop(this.loop);
}

/* Nothing is to be read, and what was set before counts no more. */
static void
test_wake(void **state)
{
	struct watched woken = {0};
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	woken.watch = loop_watch_new(this.loop, pair[0], count_wake, &woken);
	loop_watch_set(woken.watch, LOOP_READ);
	loop_watch_wake(woken.watch);
	loop_watch_set(woken.watch, 0);
	loop_watch_set(woken.watch, LOOP_READ);
	loop_watch_wake(woken.watch);
	assert_int_equal(this.count, 0);
	loop_run(this.loop);
	assert_int_equal(this.count, 1);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

/* --- Names --- */

struct resolved {
	struct sockaddr_storage address;
	bool failed;
};

static void
on_resolved(void *argument, const struct sockaddr *address, socklen_t length, const char *failure)
{
	struct resolved *resolved = argument;

	this.count++;
	resolved->failed = address == NULL;
	assert_true(resolved->failed == (failure != NULL));
	if (address != NULL) {
		memcpy(&resolved->address, address, length);
	}
	loop_stop(this.loop);
}

/* An address needs no server, and is told from the loop all the same. */
static void
test_numeric_addresses(void **state)
{
	struct resolved found = {0};
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&found.address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&found.address;

	(void)state;
	loop_resolve(this.loop, "127.0.0.1", 6379, 5, on_resolved, &found);
	assert_int_equal(this.count, 0);
	loop_run(this.loop);
	assert_int_equal(this.count, 1);
	assert_int_equal(v4->sin_family, AF_INET);
	assert_int_equal(ntohs(v4->sin_port), 6379);
	assert_int_equal(ntohl(v4->sin_addr.s_addr), INADDR_LOOPBACK);
	loop_free(this.loop);
	assert_int_equal(setup(NULL), 0);
	loop_resolve(this.loop, "::1", 1, 0, on_resolved, &found);
	loop_run(this.loop);
	assert_int_equal(v6->sin6_family, AF_INET6);
}

/* Whoever waits for a name when the loop ends hears of it. */
static void
test_names_fail_with_the_loop(void **state)
{
	struct resolved found = {0};
	struct error error;

	(void)state;
	loop_resolve(this.loop, "a-name-that-nobody-has.invalid", 1, 0, on_resolved, &found);
	loop_free(this.loop);
	assert_int_equal(this.count, 1);
	assert_true(found.failed);
	this.loop = loop_new(&error);
}

/* --- Tasks --- */

static struct loop_task *task;

static void
run_twice(void *argument)
{
	(void)argument;
	if (++this.count == 1) {
		loop_task_set(task);
	} else {
		loop_task_free(task); /* within its own function */
		loop_stop(this.loop);
	}
}

static void
test_tasks(void **state)
{
	(void)state;
	task = loop_task_new(this.loop, run_twice, NULL);
	loop_task_set(task);
	loop_task_set(task); /* once is enough */
	assert_int_equal(this.count, 0);
	loop_run(this.loop);
	assert_int_equal(this.count, 2);
	loop_task_free(NULL);
}

int
main(void)
{
#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		LOOP_TEST(test_mail_comes_in_order),
		LOOP_TEST(test_mail_that_posts_mail),
		LOOP_TEST(test_mail_from_many_threads),
		LOOP_TEST(test_no_mail_is_lost_at_the_end),
		LOOP_TEST(test_timers),
		LOOP_TEST(test_watches),
		LOOP_TEST(test_wake),
		LOOP_TEST(test_tasks),
		LOOP_TEST(test_numeric_addresses),
		LOOP_TEST(test_names_fail_with_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
