/* Connections over a socket pair, with nghttp2's client: flow control, pings, the end. The test passes the seconds. */
#include "grpc/service_fixture.h"

#include "base/unit_test.h"

#include <unistd.h>

/* --- Flow control --- */

/* While a call is paused, its window is not refilled, and its client comes to a stop. */
static void
test_pause(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	test.is_silent = true;
	client_turn(test.client);
	grpc_call_pause(test.call);
	client_message(test.client, stream, zeros(100000));
	client_message(test.client, stream, zeros(3 << 20));
	client_turn(test.client);
	assert_log("begin");
	assert_true(stream->said < stream->body.length);
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_log("begin");
	grpc_call_resume(test.call);
	assert_log("begin");
	client_turn(test.client);
	assert_log("begin 100000 3145728 end");
	assert_grpc_status(stream, GRPC_OK);
}

/* A paused call does not stop the others of its connection. */
static void
test_pause_of_one_call(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_turn(test.client);
	grpc_call_pause(test.call);
	client_message(test.client, stream, zeros(2 << 20));
	client_turn(test.client);
	test.log[0] = '\0';
	stream = open_call("/test/Unary");
	client_message(test.client, stream, zeros(1 << 20));
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_log("begin 1048576");
	assert_grpc_status(stream, GRPC_OK);
}

/* What a finished call's client still sends does not use up the connection's window. */
static void
test_data_behind_the_end(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		struct stream *stream = open_call("/test/Nothing");

		client_message(test.client, stream, zeros(200000));
		client_turn(test.client);
		assert_grpc_status(stream, GRPC_UNIMPLEMENTED);
	}
	assert_int_equal(nghttp2_session_get_remote_window_size(test.client->session) >= 200000, true);
	assert_grpc_status(ask(&(struct head){.path = "/test/Unary"}, "x"), GRPC_OK);
}

static uint32_t
initial_window(void)
{
	return nghttp2_session_get_remote_settings(test.client->session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
}

/* A client that fills its window within a round trip gets a larger one. */
static void
test_growth(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	test.is_silent = true;
	client_turn(test.client);
	assert_int_equal(initial_window(), BANDWIDTH_WINDOW_MIN);
	client_message(test.client, stream, zeros(CLIENT_MAX_MESSAGE));
	for (int i = 0; i < 3; i++) { /* all that the window allows, before the server's PING is answered */
		client_send(test.client);
		client_run_loop(test.client, 1);
	}
	client_turn(test.client);
	assert_true(initial_window() > BANDWIDTH_WINDOW_MIN);
	assert_log("begin 4194304");
}

/* A reply waits for the client's window, and its memory is kept until it is written. */
static void
test_a_client_that_takes_its_time(void **state)
{
	struct stream *stream;

	(void)state;
	test.keeps = test.is_silent = true;
	stream = ask(&(struct head){.path = "/test/Unary"}, "");
	send_bytes(test.call, zeros(200000));
	client_run_loop(test.client, 1);
	assert_int_equal(grpc_call_unsent(test.call), 200000 + GRPC_PREFIX_SIZE - 65535);
	finish(test.call);
	assert_int_equal(test.released, 0);
	client_turn(test.client);
	assert_int_equal(test.released, 1);
	assert_int_equal(stream->data.length, 200000 + GRPC_PREFIX_SIZE);
	assert_grpc_status(stream, GRPC_OK);
}

/* --- Connections --- */

static void
ping(void)
{
	assert_int_equal(nghttp2_submit_ping(test.client->session, NGHTTP2_FLAG_NONE, NULL), 0);
	client_turn(test.client);
}

static void
test_too_many_pings(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) { /* one, and two strikes */
		ping();
		assert_int_equal(test.client->goaways, 0);
	}
	ping();
	assert_int_equal(test.client->goaways, 1); /* gRPC's clients show the text of the last */
	assert_int_equal(test.client->goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_string_equal(test.client->goaway_text, "too_many_pings");
	assert_true(test.client->is_left);
}

/* What the server has sent excuses a PING: clients measure the bandwidth by them. */
static void
test_pings_between_replies(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		assert_grpc_status(ask(&(struct head){.path = "/test/Unary"}, "x"), GRPC_OK);
		ping();
	}
	assert_int_equal(test.client->goaways, 0);
}

static void
on_stopped(void *argument)
{
	(void)argument;
	note("stopped");
}

/* The first GOAWAY stops no call that is on its way; the second names the last call; the connection ends with it. */
static void
test_a_stop(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_turn(test.client);
	grpc_lane_stop(test.client->lane, on_stopped, NULL);
	client_run_loop(test.client, 1);
	(void)client_receive(test.client);
	assert_int_equal(test.client->goaways, 1);
	assert_int_equal(test.client->last_stream, INT32_MAX);
	client_turn(test.client);
	assert_int_equal(test.client->goaways, 2);
	assert_int_equal(test.client->last_stream, stream->id);
	assert_int_equal(test.client->goaway_code, NGHTTP2_NO_ERROR);
	say(stream, "still");
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_log("begin 'still' end"); /* the connection lingers until the client has read all */
	assert_grpc_status(stream, GRPC_OK);
	assert_true(test.client->is_left);
	client_leave(test.client);
	client_turn(test.client);
	assert_log("begin 'still' end stopped");
}

/* A client that does not answer the PING between them gets the second GOAWAY some seconds later. */
static void
test_a_stop_with_a_silent_client(void **state)
{
	(void)state;
	client_turn(test.client);
	grpc_lane_stop(test.client->lane, on_stopped, NULL);
	client_run_loop(test.client, 1);
	assert_log("");
	for (int i = 0; i < 5; i++) {
		assert_log("");
		grpc_lane_sweep(test.client->lane);
		client_run_loop(test.client, 1);
	}
	assert_log("stopped");
}

/* A call that waits for its client is told to end. */
static void
test_a_stop_with_an_idle_stream(void **state)
{
	struct stream *stream = open_call("/test/Idle");

	(void)state;
	client_turn(test.client);
	grpc_lane_stop(test.client->lane, on_stopped, NULL);
	client_turn(test.client);
	assert_log("begin stopping");
	assert_grpc_status(stream, GRPC_UNAVAILABLE);
	client_leave(test.client);
	client_turn(test.client);
	assert_log("begin stopping stopped");
}

static void
test_a_stop_without_connections(void **state)
{
	(void)state;
	client_leave(test.client);
	client_turn(test.client);
	grpc_lane_stop(test.client->lane, on_stopped, NULL);
	assert_log("stopped");
}

/* Not HTTP/2 at all. */
static void
test_garbage(void **state)
{
	(void)state;
	assert_int_equal(write(test.client->fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
	client_run_loop(test.client, 1);
	assert_true(TAILQ_EMPTY(&test.client->lane->connections));
}

/* A client that says nothing for a minute. */
static void
test_a_silent_client(void **state)
{
	(void)state;
	client_run_loop(test.client, 1);
	for (int i = 0; i < 61; i++) {
		assert_false(TAILQ_EMPTY(&test.client->lane->connections));
		grpc_lane_sweep(test.client->lane);
	}
	assert_true(TAILQ_EMPTY(&test.client->lane->connections));
}

/* A message that does not go on. */
static void
test_a_message_that_stalls(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_say(test.client, stream, bytes_make("\0\0\0\0\5x", 6));
	client_turn(test.client);
	for (int i = 0; i < 61; i++) {
		assert_log("begin");
		grpc_lane_sweep(test.client->lane);
	}
	client_turn(test.client);
	assert_log("begin cancelled");
	assert_true(stream->was_reset);
}

/* --- Time --- */

/* Passes some seconds, in which the client reads and replies. */
static void
pass(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		grpc_lane_sweep(test.client->lane);
		client_turn(test.client);
	}
}

/* The same for a client that does nothing. */
static void
pass_alone(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		grpc_lane_sweep(test.client->lane);
		client_run_loop(test.client, 1);
	}
}

static bool
is_connected(void)
{
	return !TAILQ_EMPTY(&test.client->lane->connections);
}

static void
test_keep_alive(void **state)
{
	(void)state;
	test.client->options.keepalive_time_ms = 10000;
	(void)open_call("/test/Stream");
	client_turn(test.client);
	pass(300); /* this client replies to PINGs */
	assert_true(is_connected());
	pass_alone(10 + 20);
	assert_true(is_connected());
	pass_alone(1);
	assert_false(is_connected());
	assert_log("begin cancelled");
}

/* Without a call, no PING is sent, and so none is missed. */
static void
test_keep_alive_without_calls(void **state)
{
	(void)state;
	test.client->options.keepalive_time_ms = 10000;
	client_turn(test.client);
	pass_alone(100);
	assert_true(is_connected());
	test.client->options.keepalive_without_calls = true;
	pass_alone(22);
	assert_false(is_connected());
}

/* The limit of the server's own PINGs counts from the last data, in either direction. */
static void
test_the_limit_of_keep_alives(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	test.client->options.keepalive_time_ms = 10000;
	test.client->options.max_pings_without_data = 2;
	client_turn(test.client);
	pass(30);
	pass_alone(100); /* no third PING, so its reply is not missed */
	assert_true(is_connected());
	send_bytes(test.call, bytes_text("news"));
	client_turn(test.client);
	assert_messages(stream, "news");
	pass_alone(31);
	assert_false(is_connected());
}

/* An old connection is told to end, and its calls may go on for the grace. */
static void
test_age(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	test.client->options.max_connection_age_grace_ms = 5000;
	TAILQ_FIRST(&test.client->lane->connections)->max_age = 3;
	client_turn(test.client);
	pass(2);
	assert_int_equal(test.client->goaways, 0);
	pass(1);
	assert_int_equal(test.client->goaways, 2);
	assert_int_equal(test.client->last_stream, stream->id);
	pass(5);
	say(stream, "still");
	client_turn(test.client);
	assert_messages(stream, "still");
	pass(1);
	assert_true(test.client->is_left);
	assert_log("begin 'still' cancelled");
}

/* The reply to a PING that was under way before is none to the PING behind the first GOAWAY. */
static void
test_a_stop_while_a_keep_alive_is_under_way(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	test.client->options.keepalive_time_ms = 10000;
	client_turn(test.client);
	pass_alone(10);
	assert_true(client_receive(test.client)); /* the PING of the keep-alive */
	grpc_lane_stop(test.client->lane, on_stopped, NULL);
	client_run_loop(test.client, 1);
	client_send(test.client);
	client_run_loop(test.client, 1);
	stream = open_call("/test/Stream"); /* before the client has read the GOAWAY */
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_grpc_status(stream, GRPC_OK);
}

/* What the server itself does not take is not late. */
static void
test_a_message_to_a_paused_call(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	test.is_silent = true;
	client_turn(test.client);
	grpc_call_pause(test.call);
	client_message(test.client, stream, zeros(4 << 20));
	client_half_close(test.client, stream);
	client_turn(test.client);
	pass_alone(1000);
	assert_log("begin");
	grpc_call_resume(test.call);
	pass_alone(1);
	client_turn(test.client);
	assert_log("begin 4194304 end");
}

/* Nor does a request that will be refused go on for ever. */
static void
test_a_refused_request_that_stalls(void **state)
{
	struct stream *stream =
		client_open(test.client, &(struct head){.path = "/test/Unary", .content_type = "text/plain"});

	(void)state;
	client_turn(test.client);
	pass(61);
	assert_true(stream->was_reset);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, service_setup, service_teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_pause),
		TEST(test_pause_of_one_call),
		TEST(test_data_behind_the_end),
		TEST(test_growth),
		TEST(test_a_client_that_takes_its_time),
		TEST(test_too_many_pings),
		TEST(test_pings_between_replies),
		TEST(test_a_stop),
		TEST(test_a_stop_with_a_silent_client),
		TEST(test_a_stop_with_an_idle_stream),
		TEST(test_a_stop_without_connections),
		TEST(test_garbage),
		TEST(test_a_silent_client),
		TEST(test_a_message_that_stalls),
		TEST(test_keep_alive),
		TEST(test_keep_alive_without_calls),
		TEST(test_the_limit_of_keep_alives),
		TEST(test_age),
		TEST(test_a_stop_while_a_keep_alive_is_under_way),
		TEST(test_a_message_to_a_paused_call),
		TEST(test_a_refused_request_that_stalls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
