/* The client and the choice of replicas, with scripted servers on the same loop. */
#include "upstream/upstream.h"

#include "base/memory.h"
#include "base/unit_test.h"
#include "upstream/server_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERVERS 2
#define OK_REPLY "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct {
	char folder[64];
	char paths[SERVERS][96];
	char *urls[SERVERS];
	struct loop *loop;
	struct scripted_server *servers[SERVERS];
	struct upstream_options options;
	struct upstream *upstream;
	struct upstream_lane *lane;
} this;

struct probe {
	struct upstream_call call; /* first */
	struct buf body;
	int status;
	size_t heads;
	size_t dones;
	enum http_outcome outcome;
	char why[256];
	bool pauses;
	bool cancels_at_head;
	bool cancels_at_body;
};

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	struct probe *probe = (struct probe *)call;

	probe->status = head->status;
	probe->heads++;
	if (probe->cancels_at_head) {
		upstream_call_cancel(call);
	}
}

static bool
on_body(struct upstream_call *call, struct bytes part)
{
	struct probe *probe = (struct probe *)call;

	buf_append(&probe->body, part);
	if (probe->cancels_at_body) {
		upstream_call_cancel(call);
	}
	return !probe->pauses;
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct probe *probe = (struct probe *)call;

	probe->dones++;
	probe->outcome = outcome;
	(void)snprintf(probe->why, sizeof(probe->why), "%s", why == NULL ? "" : why);
}

static int
setup(void **state)
{
	struct error error;

	(void)state;
	memset(&this, 0, sizeof(this));
	(void)snprintf(this.folder, sizeof(this.folder), "/tmp/upstream_test_XXXXXX");
	assert_non_null(mkdtemp(this.folder));
	for (size_t i = 0; i < SERVERS; i++) {
		(void)snprintf(this.paths[i], sizeof(this.paths[i]), "%s/%zu", this.folder, i);
		this.urls[i] = memory_format("unix:%s", this.paths[i]);
	}
	this.loop = loop_new(&error);
	return 0;
}

static void
start_server(size_t index, const struct scripted_step *steps, size_t count)
{
	this.servers[index] = scripted_server_new(this.loop, this.paths[index], steps, count);
}

static void
start_client(size_t replicas)
{
	struct error error;

	this.options = (struct upstream_options){
		.urls = (const char *const *)this.urls, .url_count = replicas, .connect_timeout_s = 5};
	this.upstream = upstream_new(&this.options, &error);
	assert_non_null(this.upstream);
	this.lane = upstream_lane_new(this.upstream, this.loop, NULL);
}

static int
teardown(void **state)
{
	(void)state;
	upstream_lane_free(this.lane);
	upstream_free(this.upstream);
	for (size_t i = 0; i < SERVERS; i++) {
		if (this.servers[i] != NULL) {
			scripted_server_free(this.servers[i]);
		}
		free(this.urls[i]);
	}
	loop_free(this.loop);
	(void)rmdir(this.folder);
	return 0;
}

static void
start_at(struct probe *probe, const char *method, ptrdiff_t only)
{
	buf_init(&probe->body, 1 << 20);
	probe->call.method = method;
	probe->call.target = bytes_text("/v2");
	probe->call.only = only;
	probe->call.on_head = on_head;
	probe->call.on_body = on_body;
	probe->call.done = on_done;
	upstream_call_start(this.lane, &probe->call);
	assert_int_equal(probe->dones, 0);
}

static void
start(struct probe *probe, const char *method)
{
	start_at(probe, method, -1);
}

static void
finish(struct probe *probe)
{
	while (probe->dones == 0) {
		loop_turn(this.loop);
	}
	assert_int_equal(probe->dones, 1);
}

static void
check_answered(struct probe *probe, int status, const char *body)
{
	finish(probe);
	assert_int_equal(probe->outcome, HTTP_CALL_DONE);
	assert_int_equal(probe->heads, 1);
	assert_int_equal(probe->status, status);
	assert_bytes(buf_bytes(&probe->body), body);
	buf_fini(&probe->body);
}

static void
check_failed(struct probe *probe, enum http_outcome outcome, const char *why)
{
	finish(probe);
	assert_int_equal(probe->outcome, outcome);
	assert_non_null(strstr(probe->why, why));
	buf_fini(&probe->body);
}

/* --- A body that comes --- */

static void
test_a_body_that_comes_in_parts(void **state)
{
	static const struct scripted_step steps[] = {{.reply = OK_REPLY}};
	static uint8_t room[100000];
	const struct bytes body = bytes_make(room, sizeof(room));
	struct bytes last;

	(void)state;
	memset(room, 'a', sizeof(room));
	start_server(0, steps, 1);
	start_client(1);
	for (size_t round = 0; round < 2; round++) { /* the second one over the same connection */
		struct probe probe = {.call = {.body = &body, .body_count = 1, .missing = 60000}};

		start(&probe, "POST");
		while (scripted_server_connections(this.servers[0]) == 0) {
			loop_turn(this.loop);
		}
		assert_int_equal(probe.dones, 0);
		assert_int_equal(scripted_server_requests(this.servers[0]), round);
		upstream_call_more(&probe.call, 25000);
		upstream_call_more(&probe.call, 35000);
		check_answered(&probe, 200, "ok");
		last = scripted_server_last(this.servers[0]);
		assert_memory_equal(last.at + last.length - sizeof(room), room, sizeof(room));
	}
	assert_int_equal(scripted_server_connections(this.servers[0]), 1);
}

/* What has come meanwhile is sent to the replica that takes it; the rest follows. */
static void
test_a_part_of_a_body_and_a_replica_that_is_down(void **state)
{
	static const struct scripted_step steps[] = {{.reply = OK_REPLY}};
	const struct bytes body = bytes_text("0123456789");
	struct probe probe = {.call = {.body = &body, .body_count = 1, .missing = 7}};
	struct bytes last;

	(void)state;
	start_server(1, steps, 1);
	start_client(2);
	start_at(&probe, "POST", 0);
	upstream_call_more(&probe.call, 2);
	check_failed(&probe, HTTP_CALL_UNSENT, "0");
	probe = (struct probe){.call = {.body = &body, .body_count = 1, .missing = 7}};
	start(&probe, "POST");
	upstream_call_more(&probe.call, 2);
	while (scripted_server_connections(this.servers[1]) == 0) {
		loop_turn(this.loop);
	}
	assert_int_equal(probe.dones, 0);
	upstream_call_more(&probe.call, 5);
	check_answered(&probe, 200, "ok");
	last = scripted_server_last(this.servers[1]);
	assert_memory_equal(last.at + last.length - 10, "0123456789", 10);
}

/* --- One server --- */

static void
test_each_kind_of_body(void **state)
{
	static const struct scripted_step steps[] = {
		{.reply = OK_REPLY},
		{.reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"},
		{.reply = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" OK_REPLY},
		{.reply = "HTTP/1.1 204 No Content\r\n\r\n"},
		{.reply = "HTTP/1.1 404 Not Found\r\n\r\nuntil the end", .closes = true},
	};
	static const char *const bodies[] = {"ok", "abcde", "ok", "", "until the end"};
	static const int statuses[] = {200, 200, 200, 204, 404};

	(void)state;
	start_server(0, steps, 5);
	start_client(1);
	for (size_t i = 0; i < 5; i++) {
		struct probe probe = {0};

		start(&probe, "GET");
		check_answered(&probe, statuses[i], bodies[i]);
	}
	assert_int_equal(scripted_server_connections(this.servers[0]), 2); /* another one after the 204 */
}

static void
test_the_request(void **state)
{
	static const struct scripted_step step = {.reply = OK_REPLY};
	static const struct bytes pieces[] = {{(const uint8_t *)"ab", 2}, {(const uint8_t *)"cde", 3}};
	struct probe probe = {.call = {.headers = bytes_text("X-A: 1\r\n"), .body = pieces, .body_count = 2}};

	(void)state;
	start_server(0, &step, 1);
	start_client(1);
	start(&probe, "POST");
	check_answered(&probe, 200, "ok");
	assert_bytes(scripted_server_last(this.servers[0]),
		     "POST /v2 HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nabcde");
}

static void
test_head_requests_have_no_body(void **state)
{
	static const struct scripted_step step = {.reply = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"};

	(void)state;
	start_server(0, &step, 1);
	start_client(1);
	for (size_t i = 0; i < 2; i++) {
		struct probe probe = {0};

		start(&probe, "HEAD");
		check_answered(&probe, 200, "");
	}
	assert_int_equal(scripted_server_connections(this.servers[0]), 2); /* a body may follow all the same */
}

/* What is no whole response must not look like one; nor may its rest be taken for the next one. */
static void
test_broken_responses(void **state)
{
	static const struct scripted_step steps[] = {
		{.reply = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort", .closes = true},
		{.reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", .closes = true},
		{.reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
		{.reply = "HTTP/1.1 200", .closes = true},
		{.reply = "220 smtp.example.com\r\n"},
		{.reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"},
		{.closes = true},
	};

	(void)state;
	start_server(0, steps, 7);
	start_client(1);
	for (size_t i = 0; i < 7; i++) {
		struct probe probe = {0};

		start_at(&probe, "POST", 0); /* whatever the breaker says */
		check_failed(&probe, HTTP_CALL_BROKEN, this.urls[0]);
	}
}

static void
test_bytes_behind_a_response(void **state)
{
	static const struct scripted_step steps[] = {
		{.reply = OK_REPLY "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"}, {.reply = OK_REPLY}};
	struct probe first = {0};
	struct probe second = {0};

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	start(&first, "GET");
	check_answered(&first, 200, "ok");
	start(&second, "GET");
	check_answered(&second, 200, "ok");
	assert_int_equal(scripted_server_connections(this.servers[0]), 2);
}

/* A kept connection may end at any time: a request that may run twice is sent again, another is not. */
static void
test_kept_connections_end(void **state)
{
	static const struct scripted_step steps[] = {
		{.reply = OK_REPLY}, {.closes = true}, {.reply = OK_REPLY}, {.closes = true}, {.reply = OK_REPLY}};
	struct probe probes[3] = {
		{.call = {.is_repeatable = true}}, {.call = {.is_repeatable = true}}, {.pauses = false}};

	(void)state;
	start_server(0, steps, 5);
	start_client(1);
	for (size_t i = 0; i < 2; i++) {
		start(&probes[i], "POST");
		check_answered(&probes[i], 200, "ok");
	}
	start(&probes[2], "POST");
	check_failed(&probes[2], HTTP_CALL_BROKEN, "without a response");
	assert_int_equal(scripted_server_requests(this.servers[0]), 4);
}

static void
test_idle_connections_end(void **state)
{
	static const struct scripted_step step = {.reply = OK_REPLY};
	struct probe first = {0};
	struct probe second = {0};

	(void)state;
	start_server(0, &step, 1);
	start_client(1);
	start(&first, "POST");
	check_answered(&first, 200, "ok");
	scripted_server_hang_up(this.servers[0]);
	loop_turn(this.loop); /* the client sees it */
	start(&second, "POST");
	check_answered(&second, 200, "ok");
	assert_int_equal(scripted_server_connections(this.servers[0]), 2);
}

static void
test_pause(void **state)
{
	static const struct scripted_step step = {.reply = OK_REPLY};
	struct probe probe = {.pauses = true};

	(void)state;
	start_server(0, &step, 1);
	start_client(1);
	start(&probe, "GET");
	check_answered(&probe, 200, "ok"); /* the end comes although the last part paused */
}

static void
test_cancel(void **state)
{
	static const struct scripted_step steps[] = {{0}, {.reply = OK_REPLY}};
	struct probe at_head = {.cancels_at_head = true};
	struct probe at_body = {.cancels_at_body = true};
	struct probe at_once = {0};
	struct probe waiting = {0};
	struct probe last = {0};

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	start(&at_once, "GET"); /* before it is connected */
	upstream_call_cancel(&at_once.call);
	start(&waiting, "GET");
	while (scripted_server_requests(this.servers[0]) == 0) {
		loop_turn(this.loop);
	}
	upstream_call_cancel(&waiting.call);
	start(&at_head, "GET");
	while (at_head.heads == 0) {
		loop_turn(this.loop);
	}
	start(&at_body, "GET");
	while (at_body.body.length == 0) {
		loop_turn(this.loop);
	}
	start(&last, "GET");
	check_answered(&last, 200, "ok");
	assert_int_equal(at_once.dones + waiting.dones + at_head.dones + at_body.dones, 0);
	buf_fini(&at_once.body);
	buf_fini(&waiting.body);
	buf_fini(&at_head.body);
	buf_fini(&at_body.body);
}

/* --- Replicas --- */

static void
test_nothing_listens(void **state)
{
	(void)state;
	start_client(1);
	for (size_t i = 0; i < 5; i++) {
		struct probe probe = {0};

		start(&probe, "POST");
		check_failed(&probe, HTTP_CALL_UNSENT, "No such file");
	}
}

static void
test_another_replica(void **state)
{
	static const struct scripted_step good = {.reply = OK_REPLY};

	(void)state;
	start_server(1, &good, 1); /* the other one is not there */
	start_client(2);
	for (size_t i = 0; i < 10; i++) {
		struct probe probe = {0};

		start(&probe, "POST");
		check_answered(&probe, 200, "ok");
	}
	assert_int_equal(scripted_server_requests(this.servers[1]), 10);
}

/* Only what may run twice is sent to another replica once it was sent to the first. */
static void
test_replica_dies(void **state)
{
	static const struct scripted_step dies = {.closes = true};
	static const struct scripted_step good = {.reply = OK_REPLY};
	size_t failed = 0;

	(void)state;
	start_server(0, &dies, 1);
	start_server(1, &good, 1);
	start_client(2);
	for (size_t i = 0; i < 2; i++) {
		struct probe probe = {0};

		start(&probe, "POST");
		finish(&probe);
		failed += probe.outcome == HTTP_CALL_BROKEN;
		buf_fini(&probe.body);
	}
	assert_int_equal(failed, 1);
	for (size_t i = 0; i < 6; i++) {
		struct probe probe = {.call = {.is_repeatable = true}};

		start(&probe, "POST");
		check_answered(&probe, 200, "ok");
	}
}

static void
test_calls_are_spread(void **state)
{
	static const struct scripted_step silent = {0};
	struct probe probes[8] = {{.pauses = false}};

	(void)state;
	start_server(0, &silent, 1);
	start_server(1, &silent, 1);
	start_client(2);
	for (size_t i = 0; i < 8; i++) {
		start(&probes[i], "POST");
	}
	while (scripted_server_requests(this.servers[0]) + scripted_server_requests(this.servers[1]) < 8) {
		loop_turn(this.loop);
	}
	assert_int_equal(scripted_server_requests(this.servers[0]), 4);
	for (size_t i = 0; i < 8; i++) {
		upstream_call_cancel(&probes[i].call);
		buf_fini(&probes[i].body);
	}
}

/* A replica that is silent: another one gets the call as well, and whichever answers first is taken. */
static void
test_a_silent_replica(void **state)
{
	static const struct scripted_step silence[] = {{.reply = NULL}};
	static const struct scripted_step answers[] = {{.reply = OK_REPLY}};

	(void)state;
	start_server(0, silence, 1);
	start_server(1, answers, 1);
	start_client(2);
	for (size_t i = 0; i < 4; i++) {
		struct probe probe = {.call = {.is_repeatable = true, .hedge_ms = 1}};

		start(&probe, "POST");
		check_answered(&probe, 200, "ok");
		assert_int_equal(probe.call.replica, 1);
	}
	assert_true(scripted_server_requests(this.servers[0]) > 0);
}

/* Two that are silent: the call is still one, and ends once. */
static void
test_two_silent_replicas(void **state)
{
	static const struct scripted_step silence[] = {{.reply = NULL}};
	struct probe cancelled = {.call = {.is_repeatable = true, .hedge_ms = 1}};
	struct probe ended = {.call = {.is_repeatable = true, .hedge_ms = 1}};

	(void)state;
	start_server(0, silence, 1);
	start_server(1, silence, 1);
	start_client(2);
	start(&cancelled, "POST");
	start(&ended, "POST");
	while (scripted_server_requests(this.servers[0]) + scripted_server_requests(this.servers[1]) < 4) {
		loop_turn(this.loop);
	}
	upstream_call_cancel(&cancelled.call);
	buf_fini(&cancelled.body);
	scripted_server_hang_up(this.servers[0]);
	scripted_server_hang_up(this.servers[1]);
	check_failed(&ended, HTTP_CALL_BROKEN, "closed the connection without a response");
	assert_int_equal(cancelled.dones, 0);
}

/* A response that breaks off begins anew elsewhere, for callers that can take it. */
static void
test_a_response_that_breaks_off(void **state)
{
	static const struct scripted_step breaks[] = {
		{.reply = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", .closes = true}};
	static const struct scripted_step answers[] = {{.reply = OK_REPLY}};
	size_t begun = 0;

	(void)state;
	start_server(0, breaks, 1);
	start_server(1, answers, 1);
	start_client(2);
	for (size_t i = 0; i < 4; i++) {
		struct probe probe = {.call = {.is_repeatable = true, .begins_anew = true}};

		start(&probe, "POST");
		finish(&probe);
		assert_int_equal(probe.outcome, HTTP_CALL_DONE);
		begun += probe.heads;
		buf_fini(&probe.body);
	}
	assert_int_equal(begun, 4 + scripted_server_requests(this.servers[0]));
	assert_true(begun > 4);
}

static bool
yes(struct upstream_call *call)
{
	(void)call;
	return true;
}

static bool
no(struct upstream_call *call)
{
	(void)call;
	return false;
}

/* The same server is asked once more where the call is stuck there. */
static void
test_a_call_that_is_stuck(void **state)
{
	static const struct scripted_step steps[] = {{.reply = NULL}, {.reply = OK_REPLY}};
	struct probe probe = {.call = {.is_repeatable = true, .hedge_ms = 1, .may_repeat = yes}};

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	start(&probe, "POST");
	check_answered(&probe, 200, "ok");
	assert_int_equal(scripted_server_requests(this.servers[0]), 2);
}

static void
on_time(void *argument)
{
	*(bool *)argument = true;
}

static void
turn_for(uint64_t ms)
{
	bool is_over = false;
	struct loop_timer *timer = loop_timer_new(this.loop, on_time, &is_over);

	loop_timer_set(timer, ms);
	while (!is_over) {
		loop_turn(this.loop);
	}
	loop_timer_free(timer);
}

/* After a response that broke off, a replica that has not begun to answer is not taken for one that stopped. */
static void
test_a_slow_replica_after_a_response_that_broke_off(void **state)
{
	static const struct scripted_step breaks[] = {
		{.reply = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", .closes = true}};
	static const struct scripted_step silence[] = {{.reply = NULL}};
	struct probe probes[2] = {{.pauses = false}};

	(void)state;
	start_server(0, breaks, 1);
	start_server(1, silence, 1);
	start_client(2);
	for (size_t i = 0; i < 2; i++) { /* one of them goes to the first server first */
		probes[i].call = (struct upstream_call){.is_repeatable = true, .begins_anew = true, .hedge_ms = 5};
		start(&probes[i], "POST");
	}
	turn_for(60);
	assert_int_equal(scripted_server_requests(this.servers[1]), 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(probes[i].dones == 0 || probes[i].outcome == HTTP_CALL_BROKEN);
		if (probes[i].dones == 0) {
			upstream_call_cancel(&probes[i].call);
		}
		buf_fini(&probes[i].body);
	}
}

/* One that is busy is not. */
static void
test_a_call_that_takes_long(void **state)
{
	static const struct scripted_step steps[] = {{.reply = NULL}};
	struct probe probe = {.call = {.is_repeatable = true, .hedge_ms = 1, .may_repeat = no}};
	struct probe other = {.call = {.is_repeatable = true, .hedge_ms = 20, .may_repeat = yes}};

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	start(&probe, "POST");
	start(&other, "POST");
	turn_for(60);
	assert_int_equal(scripted_server_requests(this.servers[0]), 3); /* the other's twice, and no more */
	assert_false(probe.call.has_repeated);
	assert_true(other.call.has_repeated);
	assert_true(other.call.attempts[0].is_under_way && other.call.attempts[1].is_under_way);
	upstream_call_cancel(&probe.call);
	upstream_call_cancel(&other.call);
	buf_fini(&probe.body);
	buf_fini(&other.body);
}

/* A response that stops in the middle begins anew, at the same server if there is no other. */
static void
test_a_response_that_stops(void **state)
{
	static const struct scripted_step steps[] = {{.reply = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"},
						     {.reply = OK_REPLY}};

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	for (size_t i = 0; i < 2; i++) {
		struct probe probe = {
			.call = {.is_repeatable = true, .begins_anew = true, .hedge_ms = 1, .may_repeat = no}};

		start(&probe, "POST");
		finish(&probe);
		assert_int_equal(probe.outcome, HTTP_CALL_DONE);
		assert_int_equal(probe.heads, 2 - i); /* the last step is played again */
		buf_fini(&probe.body);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_a_body_that_comes_in_parts),
		TEST(test_a_part_of_a_body_and_a_replica_that_is_down),
		TEST(test_each_kind_of_body),
		TEST(test_the_request),
		TEST(test_head_requests_have_no_body),
		TEST(test_broken_responses),
		TEST(test_bytes_behind_a_response),
		TEST(test_kept_connections_end),
		TEST(test_idle_connections_end),
		TEST(test_pause),
		TEST(test_cancel),
		TEST(test_nothing_listens),
		TEST(test_another_replica),
		TEST(test_replica_dies),
		TEST(test_calls_are_spread),
		TEST(test_a_silent_replica),
		TEST(test_two_silent_replicas),
		TEST(test_a_response_that_breaks_off),
		TEST(test_a_slow_replica_after_a_response_that_broke_off),
		TEST(test_a_call_that_is_stuck),
		TEST(test_a_call_that_takes_long),
		TEST(test_a_response_that_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
