/* Calls over a socket pair, with nghttp2's client: messages, faults of the client, flow control and the end. */
#include "grpc/client_fixture.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PATIENCE_MS 10000

static struct {
	struct client *client;
	char log[512];		/* what the methods were told */
	struct grpc_call *call; /* the newest */
	bool keeps;		/* calls go on after their end */
	bool is_silent;		/* streams are not echoed */
	unsigned sent;
	unsigned released;
} test;

static void
note(const char *text)
{
	size_t length = strlen(test.log);

	(void)snprintf(test.log + length, sizeof(test.log) - length, "%s%s", length == 0 ? "" : " ", text);
}

/* --- Replies --- */

struct text_output {
	struct grpc_output output; /* first */
	struct bytes piece;
	struct buf text;
};

static void
on_released(struct grpc_output *output)
{
	struct text_output *text = (struct text_output *)output;

	test.released++;
	buf_fini(&text->text);
	free(text);
}

static void
send_bytes(struct grpc_call *call, struct bytes bytes)
{
	struct text_output *output = memory_new(sizeof(*output));

	test.sent++;
	buf_init(&output->text, bytes.length);
	buf_append(&output->text, bytes);
	output->piece = buf_bytes(&output->text);
	output->output = (struct grpc_output){.pieces = &output->piece, .count = 1, .released = on_released};
	grpc_call_send(call, &output->output);
}

static void
finish(struct grpc_call *call)
{
	grpc_call_finish(call, GRPC_OK, bytes_make(NULL, 0));
}

/* --- Methods --- */

static void
on_begin(struct grpc_call *call)
{
	test.call = call;
	note("begin");
}

static void
on_message(struct grpc_call *call, struct grpc_message message)
{
	char text[64];

	if (message.content.length < 16) {
		(void)snprintf(text, sizeof(text), "'%.*s'", BYTES_ARGS(message.content));
	} else {
		(void)snprintf(text, sizeof(text), "%zu", message.content.length);
	}
	note(text);
	if (!test.is_silent) {
		send_bytes(call, message.content);
	}
	grpc_message_release(&message);
	if (!grpc_call_method(call)->is_client_streaming && !test.keeps) {
		finish(call);
	}
}

static void
on_half_close(struct grpc_call *call)
{
	note("end");
	if (!test.keeps) {
		finish(call);
	}
}

static void
on_cancelled(struct grpc_call *call)
{
	(void)call;
	note("cancelled");
}

static const struct grpc_method unary = {
	.path = "/test/Unary", .begin = on_begin, .message = on_message, .cancelled = on_cancelled};
static const struct grpc_method stream_method = {.path = "/test/Stream",
						 .is_client_streaming = true,
						 .begin = on_begin,
						 .message = on_message,
						 .half_close = on_half_close,
						 .cancelled = on_cancelled};
static const struct grpc_method *const methods[] = {&unary, &stream_method};

/* --- The tests' frame --- */

static int
setup(void **state)
{
	static const struct grpc_options options = {.methods = methods,
						    .method_count = 2,
						    .keepalive_timeout_ms = 20000,
						    .min_ping_interval_ms = 300000,
						    .max_ping_strikes = 2};

	(void)state;
	memset(&test, 0, sizeof(test));
	test.client = client_new(&options);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	client_free(test.client);
	assert_int_equal(test.released, test.sent);
	return 0;
}

static struct stream *
open_call(const char *path)
{
	return client_open(test.client, &(struct head){.path = path});
}

static void
say(struct stream *stream, const char *message)
{
	client_message(test.client, stream, bytes_text(message));
}

/* Opens a unary call that says this. */
static struct stream *
ask(const struct head *head, const char *message)
{
	struct stream *stream = client_open(test.client, head);

	say(stream, message);
	client_half_close(test.client, stream);
	client_turn(test.client);
	return stream;
}

static struct bytes
zeros(size_t length)
{
	static const uint8_t much[6 << 20];

	return bytes_make(much, length);
}

static void
assert_log(const char *expected)
{
	assert_string_equal(test.log, expected);
}

/* Turns until the log says that, for what other threads and timers do. */
static void
wait_log(const char *expected)
{
	uint64_t end = clock_now_ns() + PATIENCE_MS * NS_PER_MS;

	while (strcmp(test.log, expected) != 0 && clock_now_ns() < end) {
		client_turn(test.client);
	}
	assert_log(expected);
}

/* --- Messages --- */

static void
test_unary(void **state)
{
	struct stream *stream = ask(&(struct head){.path = "/test/Unary"}, "hello");

	(void)state;
	assert_log("begin 'hello'");
	assert_messages(stream, "hello");
	assert_field(stream, ":status", "200");
	assert_field(stream, "content-type", "application/grpc");
	assert_grpc_status(stream, GRPC_OK);
	assert_int_equal(stream->blocks, 2);
	assert_true(stream->is_closed);
	assert_false(stream->was_reset);
}

static void
test_stream(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	say(stream, "one");
	say(stream, "");
	client_turn(test.client);
	assert_log("begin 'one' ''");
	assert_messages(stream, "one");
	assert_false(stream->has_ended);
	say(stream, "three");
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_log("begin 'one' '' 'three' end");
	assert_messages(stream, "onethree");
	assert_grpc_status(stream, GRPC_OK);
}

/* Wherever a DATA frame ends, also within the prefix. */
static void
test_a_message_split_at_every_byte(void **state)
{
	static const uint8_t bytes[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'd'};

	(void)state;
	for (size_t i = 0; i < sizeof(bytes) && i < CLIENT_STREAMS; i++) {
		struct stream *stream = open_call("/test/Stream");

		test.log[0] = '\0';
		client_say(test.client, stream, bytes_make(bytes, i));
		client_turn(test.client);
		client_say(test.client, stream, bytes_make(bytes + i, sizeof(bytes) - i));
		client_half_close(test.client, stream);
		client_turn(test.client);
		assert_log("begin 'abc' '' 'd' end");
		assert_messages(stream, "abcd");
	}
}

static void
test_a_message_byte_by_byte(void **state)
{
	static const uint8_t bytes[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0};
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		client_say(test.client, stream, bytes_make(&bytes[i], 1));
		client_turn(test.client);
	}
	assert_log("begin 'abc' ''");
}

static void
test_padding(void **state)
{
	struct stream *stream;

	(void)state;
	test.client->padding = 200;
	stream = ask(&(struct head){.path = "/test/Unary"}, "hello");
	assert_messages(stream, "hello");
	assert_grpc_status(stream, GRPC_OK);
}

/* The padding of many frames does not use up the connection's window. */
static void
test_much_padding(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	test.client->padding = 255;
	test.is_silent = true;
	for (int i = 0; i < 4000; i++) {
		say(stream, "x");
		client_send(test.client);
		test.log[0] = '\0';
		if (i % 100 == 0) {
			client_turn(test.client);
		}
	}
	client_turn(test.client);
	assert_int_equal(stream->said, stream->body.length);
}

static void
test_long_messages(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_message(test.client, stream, zeros(3 << 20));
	client_message(test.client, stream, zeros(5000));
	client_turn(test.client);
	assert_log("begin 3145728 5000");
	assert_int_equal(stream->data.length, (3 << 20) + 5000 + 2 * GRPC_PREFIX_SIZE);
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_grpc_status(stream, GRPC_OK);
}

/* A message of many long pieces, more than a connection writes at once. */
static void
test_many_pieces(void **state)
{
	static struct bytes pieces[200];
	static struct grpc_output output;
	struct stream *stream;

	(void)state;
	for (size_t i = 0; i < 200; i++) {
		pieces[i] = zeros(i % 2 == 0 ? 1025 : 10);
	}
	test.keeps = test.is_silent = true;
	stream = ask(&(struct head){.path = "/test/Unary"}, "");
	output = (struct grpc_output){.pieces = pieces, .count = 200};
	grpc_call_send(test.call, &output);
	finish(test.call);
	client_turn(test.client);
	assert_int_equal(stream->data.length, GRPC_PREFIX_SIZE + 100 * 1035);
	assert_grpc_status(stream, GRPC_OK);
}

/* --- Faults of the client --- */

static void
test_an_endless_message(void **state)
{
	static const uint8_t prefix[] = {0, 0xff, 0xff, 0xff, 0xff, 'x'};
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_say(test.client, stream, bytes_make(prefix, sizeof(prefix)));
	client_turn(test.client);
	assert_log("begin cancelled");
	assert_grpc_status(stream, GRPC_RESOURCE_EXHAUSTED);
	assert_field(stream, "grpc-message", "Received message larger than max (4294967295 vs. 4194304)");
	assert_int_equal(test.client->budget.used, 0);
}

static void
test_the_budget(void **state)
{
	struct stream *first = open_call("/test/Stream");
	struct stream *stream;

	(void)state;
	assert_true(budget_take(&test.client->budget, CLIENT_BUDGET - 100000));
	client_message(test.client, first, zeros(50000));
	client_turn(test.client);
	assert_log("begin 50000");
	stream = open_call("/test/Stream");
	client_message(test.client, stream, zeros(200000));
	client_turn(test.client);
	assert_log("begin 50000 begin cancelled");
	assert_grpc_status(stream, GRPC_RESOURCE_EXHAUSTED);
	budget_give(&test.client->budget, CLIENT_BUDGET - 100000);
}

static void
test_a_flag_without_coding(void **state)
{
	static const uint8_t bytes[] = {1, 0, 0, 0, 1, 'x'};
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_say(test.client, stream, bytes_make(bytes, sizeof(bytes)));
	client_turn(test.client);
	assert_log("begin cancelled");
	assert_grpc_status(stream, GRPC_INTERNAL);
}

static void
test_an_unknown_flag(void **state)
{
	static const uint8_t bytes[] = {2, 0, 0, 0, 0};
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_say(test.client, stream, bytes_make(bytes, sizeof(bytes)));
	client_turn(test.client);
	assert_grpc_status(stream, GRPC_INTERNAL);
}

static void
test_two_messages_in_a_unary_call(void **state)
{
	struct stream *stream = open_call("/test/Unary");

	(void)state;
	say(stream, "one");
	say(stream, "two");
	client_turn(test.client);
	assert_log("begin cancelled");
	assert_grpc_status(stream, GRPC_UNIMPLEMENTED);
}

static void
test_no_message(void **state)
{
	struct stream *stream = open_call("/test/Unary");

	(void)state;
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_log("begin cancelled");
	assert_grpc_status(stream, GRPC_UNIMPLEMENTED);
}

static void
test_an_end_within_a_message(void **state)
{
	static const uint8_t bytes[] = {0, 0, 0, 0, 5, 'x'};

	(void)state;
	for (size_t i = 1; i <= sizeof(bytes); i++) {
		struct stream *stream = open_call("/test/Stream");

		test.log[0] = '\0';
		client_say(test.client, stream, bytes_make(bytes, i));
		client_half_close(test.client, stream);
		client_turn(test.client);
		assert_log("begin cancelled");
		assert_grpc_status(stream, GRPC_INTERNAL);
	}
}

/* The reply waits for the request's end: until then the request may prove to be malformed. */
static void
test_another_content_type(void **state)
{
	struct stream *stream =
		client_open(test.client, &(struct head){.path = "/test/Unary", .content_type = "application/json"});

	(void)state;
	client_turn(test.client);
	assert_int_equal(stream->blocks, 0);
	client_say(test.client, stream, bytes_text("{}"));
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_log("");
	assert_field(stream, ":status", "415");
	assert_field(stream, "grpc-status", NULL);
	assert_true(stream->has_ended);
}

/* A request without end is not read for ever. */
static void
test_another_content_type_without_end(void **state)
{
	struct stream *stream =
		client_open(test.client, &(struct head){.path = "/test/Unary", .content_type = "text/plain"});

	(void)state;
	client_say(test.client, stream, zeros(2 << 20));
	client_turn(test.client);
	assert_field(stream, ":status", "415");
	assert_true(stream->was_reset);
	assert_int_equal(stream->error_code, NGHTTP2_NO_ERROR);
}

static void
test_no_content_type(void **state)
{
	(void)state;
	assert_field(ask(&(struct head){.path = "/test/Unary", .content_type = ""}, ""), ":status", "415");
}

static void
test_another_method(void **state)
{
	struct stream *stream = ask(&(struct head){.path = "/test/Unary", .method = "PUT"}, "");

	(void)state;
	assert_field(stream, ":status", "405");
	assert_field(stream, "allow", "POST");
}

static void
test_no_te(void **state)
{
	(void)state;
	assert_grpc_status(ask(&(struct head){.path = "/test/Unary", .te = ""}, ""), GRPC_INTERNAL);
	assert_log("");
}

/* The response is a single block of fields. */
static void
test_an_unknown_path(void **state)
{
	struct stream *stream = ask(&(struct head){.path = "/test/Nothing"}, "");

	(void)state;
	assert_grpc_status(stream, GRPC_UNIMPLEMENTED);
	assert_field(stream, ":status", "200");
	assert_field(stream, "content-type", "application/grpc");
	assert_int_equal(stream->blocks, 1);
	assert_int_equal(stream->data.length, 0);
}

static void
test_an_unknown_coding(void **state)
{
	struct stream *stream =
		ask(&(struct head){.path = "/test/Unary", .name = "grpc-encoding", .value = "snappy"}, "");

	(void)state;
	assert_grpc_status(stream, GRPC_UNIMPLEMENTED);
	assert_field(stream, "grpc-accept-encoding", "identity,deflate,gzip");
}

static void
test_a_malformed_timeout(void **state)
{
	(void)state;
	assert_grpc_status(ask(&(struct head){.path = "/test/Unary", .name = "grpc-timeout", .value = "1x"}, ""),
			   GRPC_INTERNAL);
}

static char long_value[4096];

static void
fill_long_value(void)
{
	memset(long_value, 'v', sizeof(long_value) - 1);
}

/* Here the content type comes behind what is too much. */
static void
test_too_much_metadata(void **state)
{
	struct stream *stream;

	(void)state;
	fill_long_value();
	stream = ask(&(struct head){.path = "/test/Unary", .name = "x", .value = long_value, .count = 17}, "");
	assert_log("");
	assert_field(stream, ":status", "200");
	assert_grpc_status(stream, GRPC_RESOURCE_EXHAUSTED);
	assert_grpc_status(ask(&(struct head){.path = "/test/Unary"}, "next"), GRPC_OK);
}

static void
test_much_metadata(void **state)
{
	const struct grpc_metadata *list;

	(void)state;
	fill_long_value();
	test.keeps = true;
	(void)ask(&(struct head){.path = "/test/Unary", .name = "x", .value = long_value, .count = 15}, "");
	assert_int_equal(grpc_call_metadata_list(test.call, &list), 15);
	assert_true(bytes_equal_text(list[14].value, long_value));
	assert_true(bytes_equal_text(grpc_call_metadata(test.call, "x"), long_value));
	assert_null(grpc_call_metadata(test.call, "y").at);
	finish(test.call);
}

/* --- Compression --- */

/* A message of that many equal bytes, or of noise, behind its prefix. */
static void
say_compressed(struct stream *stream, size_t length, bool is_noise)
{
	uint8_t *content = memory_room(length);
	struct bytes piece = bytes_make(content, length);
	uint32_t random = 1;
	struct buf text;
	uint8_t *prefix;

	for (size_t i = 0; i < length; i++) {
		random = random * 1664525 + 1013904223;
		content[i] = is_noise ? (uint8_t)(random >> 24) : 'z';
	}
	buf_init(&text, SIZE_MAX / 2);
	buf_append(&text, zeros(GRPC_PREFIX_SIZE));
	assert_int_equal(compress_pieces(CODING_GZIP, &piece, 1, &text), STATUS_OK);
	prefix = text.at;
	prefix[0] = 1;
	prefix[2] = (uint8_t)((text.length - GRPC_PREFIX_SIZE) >> 16);
	prefix[3] = (uint8_t)((text.length - GRPC_PREFIX_SIZE) >> 8);
	prefix[4] = (uint8_t)(text.length - GRPC_PREFIX_SIZE);
	client_say(test.client, stream, buf_bytes(&text));
	buf_fini(&text);
	free(content);
}

static struct stream *
open_gzip(void)
{
	return client_open(test.client,
			   &(struct head){.path = "/test/Stream", .name = "grpc-encoding", .value = "gzip"});
}

static void
test_compressed_messages(void **state)
{
	struct stream *stream = open_gzip();

	(void)state;
	test.is_silent = true;
	say_compressed(stream, 0, false);
	say_compressed(stream, 15, false);
	say(stream, "plain");
	say_compressed(stream, 100000, true); /* on an offload thread */
	say_compressed(stream, CLIENT_MAX_MESSAGE, false);
	client_half_close(test.client, stream);
	wait_log("begin '' 'zzzzzzzzzzzzzzz' 'plain' 100000 4194304 end");
	client_turn(test.client);
	assert_grpc_status(stream, GRPC_OK);
}

/* The limit counts for what was compressed, too, and has the same code. */
static void
test_a_message_that_unpacks_to_too_much(void **state)
{
	struct stream *stream = open_gzip();

	(void)state;
	say_compressed(stream, CLIENT_MAX_MESSAGE + 1, false);
	wait_log("begin cancelled");
	client_turn(test.client);
	assert_grpc_status(stream, GRPC_RESOURCE_EXHAUSTED);
}

static void
test_a_message_that_is_no_gzip(void **state)
{
	static const uint8_t bytes[] = {1, 0, 0, 0, 3, 'a', 'b', 'c'};
	struct stream *stream = open_gzip();

	(void)state;
	client_say(test.client, stream, bytes_make(bytes, sizeof(bytes)));
	client_turn(test.client);
	assert_log("begin cancelled");
	assert_grpc_status(stream, GRPC_INTERNAL);
}

/* The work of an offload thread outlives its call. */
static void
test_a_client_that_leaves_while_its_message_is_unpacked(void **state)
{
	struct stream *stream = open_gzip();

	(void)state;
	say_compressed(stream, 3 << 20, true);
	client_send(test.client);
	client_reset(test.client, stream);
	client_turn(test.client);
	assert_non_null(strstr(test.log, "cancelled"));
}

/* --- The end of a call --- */

static void
test_a_reset(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	say(stream, "one");
	client_turn(test.client);
	client_reset(test.client, stream);
	client_turn(test.client);
	assert_log("begin 'one' cancelled");
	assert_int_equal(test.client->lane->call_count, 0);
	client_leave(test.client);
	client_turn(test.client);
	assert_log("begin 'one' cancelled");
}

/* A reset with a reply on its way frees the reply. */
static void
test_a_reset_within_a_reply(void **state)
{
	struct stream *stream;

	(void)state;
	test.keeps = true;
	stream = ask(&(struct head){.path = "/test/Unary"}, "x");
	send_bytes(test.call, zeros(1 << 20)); /* more than the client's window */
	client_run_loop(test.client, 1);
	assert_int_equal(test.released, 1);
	client_reset(test.client, stream);
	client_turn(test.client);
	assert_int_equal(test.released, 2);
	assert_log("begin 'x' cancelled");
}

static void
test_a_client_that_leaves(void **state)
{
	(void)state;
	(void)open_call("/test/Stream");
	(void)open_call("/test/Unary");
	client_turn(test.client);
	client_leave(test.client);
	client_turn(test.client);
	assert_log("begin begin cancelled cancelled");
	assert_true(TAILQ_EMPTY(&test.client->lane->connections));
}

static void
test_a_deadline(void **state)
{
	struct stream *stream =
		client_open(test.client, &(struct head){.path = "/test/Stream", .name = "grpc-timeout", .value = "1m"});
	uint64_t ns;

	(void)state;
	client_send(test.client);
	wait_log("begin cancelled");
	client_turn(test.client);
	assert_grpc_status(stream, GRPC_DEADLINE_EXCEEDED);
	stream =
		client_open(test.client, &(struct head){.path = "/test/Stream", .name = "grpc-timeout", .value = "1H"});
	client_turn(test.client);
	assert_true(grpc_call_timeout(test.call, &ns));
	assert_int_equal(ns, 3600 * NS_PER_S);
	assert_false(stream->has_ended);
}

static void
test_no_time_at_all(void **state)
{
	(void)state;
	assert_grpc_status(ask(&(struct head){.path = "/test/Unary", .name = "grpc-timeout", .value = "0m"}, ""),
			   GRPC_DEADLINE_EXCEEDED);
	assert_log("");
}

/* A client that may still send is told that nobody listens any more. */
static void
test_an_end_before_the_half_close(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	say(stream, "one");
	client_turn(test.client);
	finish(test.call);
	client_turn(test.client);
	assert_grpc_status(stream, GRPC_OK);
	assert_true(stream->was_reset);
	assert_int_equal(stream->error_code, NGHTTP2_NO_ERROR);
	assert_log("begin 'one'");
}

static void
test_header_fields_and_trailers(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_turn(test.client);
	grpc_call_add_header(test.call, "x-first", bytes_text("1"));
	for (int i = 0; i < 20; i++) {
		grpc_call_add_trailer(test.call, "x-last-bin", bytes_text("AQI"));
	}
	grpc_call_send_headers(test.call);
	client_turn(test.client);
	assert_int_equal(stream->blocks, 1);
	assert_field(stream, "x-first", "1");
	grpc_call_finish(test.call, GRPC_ABORTED, bytes_text("50% \xc3\xa9"));
	client_turn(test.client);
	assert_int_equal(stream->blocks, 2);
	assert_field(stream, "x-last-bin", "AQI");
	assert_field(stream, "grpc-message", "50%25 %C3%A9");
	assert_grpc_status(stream, GRPC_ABORTED);
}

static void
test_an_end_at_once(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_turn(test.client);
	grpc_call_add_header(test.call, "x-first", bytes_text("1"));
	grpc_call_add_trailer(test.call, "x-last", bytes_text("2"));
	grpc_call_finish(test.call, GRPC_NOT_FOUND, bytes_text("no"));
	client_turn(test.client);
	assert_int_equal(stream->blocks, 1);
	assert_field(stream, "x-first", "1");
	assert_field(stream, "x-last", "2");
	assert_grpc_status(stream, GRPC_NOT_FOUND);
}

/* A text that no block of fields could hold is cut. */
static void
test_a_long_text(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	client_turn(test.client);
	grpc_call_finish(test.call, GRPC_UNKNOWN, zeros(1 << 20));
	client_turn(test.client);
	assert_grpc_status(stream, GRPC_UNKNOWN);
}

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
	client_message(test.client, stream, zeros(1 << 20));
	client_turn(test.client);
	assert_log("begin");
	assert_true(stream->said < stream->body.length);
	client_half_close(test.client, stream);
	client_turn(test.client);
	assert_log("begin");
	grpc_call_resume(test.call);
	assert_log("begin");
	client_turn(test.client);
	assert_log("begin 100000 1048576 end");
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
	assert_true(test.client->goaways > 0);
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
	assert_log("begin 'still' end stopped");
	assert_grpc_status(stream, GRPC_OK);
	assert_true(test.client->is_left);
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
	for (int i = 0; i < 2; i++) {
		grpc_lane_sweep(test.client->lane);
		client_run_loop(test.client, 1);
	}
	assert_log("stopped");
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

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_unary),
		TEST(test_stream),
		TEST(test_a_message_split_at_every_byte),
		TEST(test_a_message_byte_by_byte),
		TEST(test_padding),
		TEST(test_much_padding),
		TEST(test_long_messages),
		TEST(test_many_pieces),
		TEST(test_an_endless_message),
		TEST(test_the_budget),
		TEST(test_a_flag_without_coding),
		TEST(test_an_unknown_flag),
		TEST(test_two_messages_in_a_unary_call),
		TEST(test_no_message),
		TEST(test_an_end_within_a_message),
		TEST(test_another_content_type),
		TEST(test_another_content_type_without_end),
		TEST(test_no_content_type),
		TEST(test_another_method),
		TEST(test_no_te),
		TEST(test_an_unknown_path),
		TEST(test_an_unknown_coding),
		TEST(test_a_malformed_timeout),
		TEST(test_too_much_metadata),
		TEST(test_much_metadata),
		TEST(test_compressed_messages),
		TEST(test_a_message_that_unpacks_to_too_much),
		TEST(test_a_message_that_is_no_gzip),
		TEST(test_a_client_that_leaves_while_its_message_is_unpacked),
		TEST(test_a_reset),
		TEST(test_a_reset_within_a_reply),
		TEST(test_a_client_that_leaves),
		TEST(test_a_deadline),
		TEST(test_no_time_at_all),
		TEST(test_an_end_before_the_half_close),
		TEST(test_header_fields_and_trailers),
		TEST(test_an_end_at_once),
		TEST(test_a_long_text),
		TEST(test_pause),
		TEST(test_pause_of_one_call),
		TEST(test_data_behind_the_end),
		TEST(test_growth),
		TEST(test_a_client_that_takes_its_time),
		TEST(test_too_many_pings),
		TEST(test_pings_between_replies),
		TEST(test_a_stop),
		TEST(test_a_stop_with_a_silent_client),
		TEST(test_a_stop_without_connections),
		TEST(test_garbage),
		TEST(test_a_silent_client),
		TEST(test_a_message_that_stalls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
