/* The client of HTTP/2 and the choice of replicas, with scripted servers on the same loop. */
#include "upstream/grpc_upstream.h"

#include "base/buf.h"
#include "base/memory.h"
#include "base/unit_test.h"
#include "upstream/http2_fixture.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVERS 2

static struct {
	char *urls[SERVERS];
	struct loop *loop;
	struct http2_server *servers[SERVERS];
	struct upstream_options options;
	struct grpc_upstream *upstream;
	struct grpc_upstream_lane *lane;
} this;

/* A call with one piece as its body. */
struct probe {
	struct grpc_upstream_call call; /* first */
	struct http2_piece piece;
	struct buf body;
	size_t heads;
	size_t dones;
	size_t releases;
	size_t trailers;
	enum http2_outcome outcome;
	char why[256];
	bool cancels_at_head;
	bool consumes_nothing;
	struct probe *next; /* is begun when this one is done */
};

static void
on_head(struct grpc_upstream_call *call, const struct http2_field *fields, size_t count, bool ends)
{
	struct probe *probe = (struct probe *)call;

	(void)ends;
	assert_true(count >= 2);
	assert_true(bytes_equal_text(fields[0].name, ":status"));
	probe->heads++;
	if (probe->cancels_at_head) {
		grpc_upstream_call_cancel(call);
	}
}

static void
on_body(struct http2_call *call, struct bytes part)
{
	struct probe *probe = (struct probe *)call;

	buf_append(&probe->body, part);
	if (!probe->consumes_nothing) {
		http2_call_consume(call, part.length);
	}
}

static void begin(struct probe *probe, bool is_repeatable, struct bytes body);

static void
on_done(struct grpc_upstream_call *call, enum http2_outcome outcome, const struct http2_field *trailers, size_t count,
	const char *why)
{
	struct probe *probe = (struct probe *)call;

	(void)trailers;
	probe->dones++;
	probe->outcome = outcome;
	probe->trailers = count;
	(void)snprintf(probe->why, sizeof(probe->why), "%s", why == NULL ? "" : why);
	if (probe->next != NULL) {
		begin(probe->next, false, bytes_text("next"));
	}
}

static void
on_released(struct http2_piece *piece)
{
	struct probe *probe = (struct probe *)((char *)piece - offsetof(struct probe, piece));

	probe->releases++;
}

static int
setup(void **state)
{
	struct error error;

	(void)state;
	memset(&this, 0, sizeof(this));
	this.loop = loop_new(&error);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	grpc_upstream_lane_free(this.lane);
	grpc_upstream_free(this.upstream);
	for (size_t i = 0; i < SERVERS; i++) {
		http2_server_free(this.servers[i]);
		free(this.urls[i]);
	}
	loop_free(this.loop);
	return 0;
}

static void
start_server(size_t index, const struct http2_step *steps, size_t count)
{
	this.servers[index] = http2_server_new(this.loop, steps, count);
	this.urls[index] = memory_format("grpc://127.0.0.1:%u", http2_server_port(this.servers[index]));
}

static void
start_client(size_t replicas)
{
	struct error error;

	this.options = (struct upstream_options){
		.urls = (const char *const *)this.urls, .url_count = replicas, .connect_timeout_s = 5};
	this.upstream = grpc_upstream_new(&this.options, &error);
	assert_non_null(this.upstream);
	this.lane = grpc_upstream_lane_new(this.upstream, this.loop);
}

static void
begin(struct probe *probe, bool is_repeatable, struct bytes body)
{
	static const char *const texts[][2] = {{":method", "POST"}, {":path", "/a.B/C"}, {"te", "trailers"}};
	static struct http2_field fields[3];

	for (size_t i = 0; i < 3; i++) {
		fields[i] = (struct http2_field){bytes_text(texts[i][0]), bytes_text(texts[i][1])};
	}
	*probe = (struct probe){.piece = {.bytes = body, .released = on_released}};
	probe->call = (struct grpc_upstream_call){
		.http2 = {.kept = 1, .fields = fields, .field_count = 3, .on_body = on_body},
		.is_repeatable = is_repeatable,
		.on_head = on_head,
		.done = on_done,
	};
	buf_init(&probe->body, 4 << 20);
	grpc_upstream_call_start(this.lane, &probe->call);
	http2_call_send(&probe->call.http2, &probe->piece);
}

static void
wait_done(struct probe *probe)
{
	while (probe->dones == 0) {
		loop_turn(this.loop);
	}
	assert_int_equal(probe->dones, 1);
	assert_int_equal(probe->releases, 1);
}

static void
ask(struct probe *probe, bool is_repeatable)
{
	begin(probe, is_repeatable, bytes_text("hello"));
	http2_call_end(&probe->call.http2);
	wait_done(probe);
	buf_fini(&probe->body);
}

/* --- Responses --- */

static void
test_calls_share_a_connection(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	struct probe probes[3];

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	for (size_t i = 0; i < 3; i++) {
		begin(&probes[i], false, bytes_text("hello"));
		http2_call_end(&probes[i].call.http2);
		wait_done(&probes[i]);
		assert_int_equal(probes[i].outcome, HTTP2_DONE);
		assert_true(bytes_equal_text(buf_bytes(&probes[i].body), "hello"));
		assert_int_equal(probes[i].heads, 1);
		assert_int_equal(probes[i].trailers, 2);
		buf_fini(&probes[i].body);
	}
	assert_int_equal(http2_server_connections(this.servers[0]), 1);
	assert_int_equal(http2_server_calls(this.servers[0]), 3);
}

static void
test_trailers_alone(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_TRAILERS, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	ask(&probe, false);
	assert_int_equal(probe.outcome, HTTP2_DONE);
	assert_int_equal(probe.heads, 1);
	assert_int_equal(probe.trailers, 0); /* they were the head */
}

/* The server needs no more of the request: it is told that no more comes. */
static void
test_a_response_before_the_request_is_complete(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_EARLY, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	begin(&probe, false, bytes_text("hello"));
	wait_done(&probe);
	buf_fini(&probe.body);
	assert_int_equal(probe.outcome, HTTP2_DONE);
	while (http2_server_resets(this.servers[0]) == 0) {
		loop_turn(this.loop);
	}
}

static void
test_a_response_that_is_reset(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_HEAD_AND_RESET, NGHTTP2_ENHANCE_YOUR_CALM}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	ask(&probe, true);
	assert_int_equal(probe.outcome, HTTP2_RESET);
	assert_int_equal(probe.call.http2.error_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(http2_server_calls(this.servers[0]), 1);
}

#define WINDOW ((size_t)1 << 20)

/* The server sends as much as its window takes, and more when that has been consumed. */
static void
test_what_is_not_consumed_holds_the_server_up(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	static uint8_t large[3 * WINDOW];
	static struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	begin(&probe, false, bytes_make(large, sizeof(large)));
	probe.consumes_nothing = true;
	http2_call_end(&probe.call.http2);
	while (probe.body.length < WINDOW) {
		loop_turn(this.loop);
	}
	assert_int_equal(probe.body.length, WINDOW);
	probe.consumes_nothing = false;
	http2_call_consume(&probe.call.http2, WINDOW);
	wait_done(&probe);
	assert_int_equal(probe.body.length, sizeof(large));
	buf_fini(&probe.body);
}

static void
test_a_call_that_is_cancelled(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_SILENCE, 0}, {HTTP2_ANSWER, 0}};
	struct probe silent;
	struct probe next;

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	begin(&silent, false, bytes_text("x"));
	http2_call_end(&silent.call.http2);
	while (http2_server_calls(this.servers[0]) == 0) {
		loop_turn(this.loop);
	}
	grpc_upstream_call_cancel(&silent.call);
	assert_int_equal(silent.releases, 1);
	while (http2_server_resets(this.servers[0]) == 0) {
		loop_turn(this.loop);
	}
	begin(&next, false, bytes_text("y"));
	next.cancels_at_head = true;
	http2_call_end(&next.call.http2);
	while (next.heads == 0) {
		loop_turn(this.loop);
	}
	buf_fini(&silent.body);
	buf_fini(&next.body);
	assert_int_equal(silent.dones + next.dones, 0);
}

/* --- Failures --- */

static void
test_what_has_not_begun_goes_elsewhere(void **state)
{
	static const struct http2_step refuses[] = {{HTTP2_RESET_STREAM, NGHTTP2_REFUSED_STREAM}};
	static const struct http2_step goes[] = {{HTTP2_GO_AWAY, 0}};
	static const struct http2_step answers[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	start_server(0, *state != NULL ? goes : refuses, 1);
	start_server(1, answers, 1);
	start_client(2);
	for (size_t i = 0; i < 6; i++) {
		ask(&probe, false);
		assert_int_equal(probe.outcome, HTTP2_DONE);
	}
	assert_int_equal(http2_server_calls(this.servers[1]), 6);
}

/* The connection ended behind the request: only what may run twice is sent again. */
static void
test_what_may_have_begun(void **state)
{
	static const struct http2_step closes[] = {{HTTP2_CLOSE, 0}};
	static const struct http2_step answers[] = {{HTTP2_ANSWER, 0}};
	size_t broken = 0;
	struct probe probe;

	(void)state;
	start_server(0, closes, 1);
	start_server(1, answers, 1);
	start_client(2);
	for (size_t i = 0; i < 4; i++) {
		ask(&probe, false);
		broken += probe.outcome == HTTP2_BROKEN;
	}
	assert_int_equal(broken, http2_server_calls(this.servers[0]));
	assert_true(broken > 0);
	for (size_t i = 0; i < 4; i++) {
		ask(&probe, true);
		assert_int_equal(probe.outcome, HTTP2_DONE);
	}
}

/* A connection that was kept and has ended meanwhile is seen before a call goes there. */
static void
test_a_server_that_is_restarted(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	ask(&probe, false);
	http2_server_hang_up(this.servers[0]);
	ask(&probe, false);
	assert_int_equal(probe.outcome, HTTP2_DONE);
	assert_int_equal(http2_server_connections(this.servers[0]), 2);
}

/* A server that has had enough of a connection takes the call on the next one. */
static void
test_a_connection_that_the_server_ends(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}, {HTTP2_GO_AWAY, 0}, {HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 3);
	start_client(1);
	ask(&probe, false);
	ask(&probe, false);
	assert_int_equal(probe.outcome, HTTP2_DONE);
	assert_int_equal(http2_server_connections(this.servers[0]), 2);
}

static void
test_a_call_that_begins_when_another_ends(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_CLOSE, 0}, {HTTP2_ANSWER, 0}};
	struct probe first;
	struct probe next;

	(void)state;
	start_server(0, steps, 2);
	start_client(1);
	begin(&first, false, bytes_text("first"));
	first.next = &next;
	http2_call_end(&first.call.http2);
	wait_done(&first);
	http2_call_end(&next.call.http2);
	wait_done(&next);
	assert_int_equal(first.outcome, HTTP2_BROKEN);
	assert_int_equal(next.outcome, HTTP2_DONE);
	buf_fini(&first.body);
	buf_fini(&next.body);
}

/* Those that the server does not answer must not hold up the others. */
static void
test_more_calls_than_a_connection_takes(void **state)
{
	static const struct http2_step steps[] = {
		{HTTP2_ANSWER, 0}, {HTTP2_SILENCE, 0}, {HTTP2_SILENCE, 0}, {HTTP2_ANSWER, 0}};
	struct probe probes[4];

	(void)state;
	start_server(0, steps, 4);
	http2_server_limit(this.servers[0], 2);
	start_client(1);
	ask(&probes[0], false);
	for (size_t i = 1; i < 3; i++) {
		begin(&probes[i], false, bytes_text("x"));
		http2_call_end(&probes[i].call.http2);
	}
	while (http2_server_calls(this.servers[0]) < 3) {
		loop_turn(this.loop);
	}
	ask(&probes[3], false);
	assert_int_equal(probes[3].outcome, HTTP2_DONE);
	assert_int_equal(http2_server_connections(this.servers[0]), 2);
	for (size_t i = 1; i < 3; i++) {
		grpc_upstream_call_cancel(&probes[i].call);
		buf_fini(&probes[i].body);
	}
}

static void
test_nobody_listens(void **state)
{
	static const struct http2_step steps[] = {{HTTP2_ANSWER, 0}};
	struct probe probe;

	(void)state;
	start_server(0, steps, 1);
	start_client(1);
	http2_server_free(this.servers[0]);
	this.servers[0] = NULL;
	ask(&probe, true);
	assert_int_equal(probe.outcome, HTTP2_UNREACHED);
	assert_non_null(strstr(probe.why, this.urls[0]));
	assert_non_null(strstr(probe.why, "refused"));
}

int
main(void)
{
	static char goes_away[] = "GOAWAY";
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_calls_share_a_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trailers_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_response_before_the_request_is_complete, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_response_that_is_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_not_consumed_holds_the_server_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_call_that_is_cancelled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_has_not_begun_goes_elsewhere, setup, teardown),
		cmocka_unit_test_prestate_setup_teardown(test_what_has_not_begun_goes_elsewhere, setup, teardown,
							 goes_away),
		cmocka_unit_test_setup_teardown(test_what_may_have_begun, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_server_that_is_restarted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_connection_that_the_server_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_call_that_begins_when_another_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_calls_than_a_connection_takes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_listens, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
