/* Calls over a socket pair, with nghttp2's client: messages, faults of the client, the end. */
#include "grpc/service_fixture.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/unit_test.h"

#include <stdlib.h>

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

/* A method without a stream of messages hands its call over to one with one, which is told of the half-close. */
static void
test_a_call_that_is_handed_over(void **state)
{
	struct stream *stream = ask(&(struct head){.path = "/any/Path"}, "hello");

	(void)state;
	assert_log("/any/Path 'hello' end");
	assert_messages(stream, "hello");
	assert_grpc_status(stream, GRPC_OK);
	(void)ask(&(struct head){.path = "/test/Unary"}, "x");
	assert_log("/any/Path 'hello' end begin 'x'");
}

/* Bytes that have their prefixes already, in parts that end anywhere. */
static void
test_raw_bytes(void **state)
{
	struct stream *stream = open_call("/test/Stream");

	(void)state;
	test.is_raw = true;
	client_message(test.client, stream, bytes_make("\0\0\0\0\3o", 6));
	client_message(test.client, stream, bytes_make("ne\0\0", 4));
	client_message(test.client, stream, bytes_make("\0\0\5three", 8));
	client_half_close(test.client, stream);
	client_turn(test.client);
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

static void
test_a_text(void **state)
{
	struct stream *stream = open_call("/test/Stream");
	struct buf text;

	(void)state;
	client_turn(test.client);
	buf_init(&text, 100);
	buf_text(&text, "twelve bytes");
	grpc_call_send_text(test.call, &text, false);
	finish(test.call);
	client_turn(test.client);
	assert_int_equal(stream->data.length, GRPC_PREFIX_SIZE + 12);
	assert_memory_equal(stream->data.at, "\0\0\0\0\x0ctwelve bytes", GRPC_PREFIX_SIZE + 12);
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
	stream = ask(&(struct head){.path = "/test/Unary", .name = "x", .value = long_value, .count = 5}, "");
	assert_log("");
	assert_field(stream, ":status", "200");
	assert_grpc_status(stream, GRPC_RESOURCE_EXHAUSTED);
	assert_grpc_status(ask(&(struct head){.path = "/test/Unary"}, "next"), GRPC_OK);
}

static void
test_far_too_much_metadata(void **state)
{
	struct stream *stream;

	(void)state;
	fill_long_value();
	stream = ask(&(struct head){.path = "/test/Unary", .name = "x", .value = long_value, .count = 17}, "");
	assert_true(stream->was_reset);
	assert_int_equal(stream->error_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(stream->blocks, 0);
	assert_log("");
	assert_grpc_status(ask(&(struct head){.path = "/test/Unary"}, "next"), GRPC_OK);
}

static void
test_far_too_large_trailers(void **state)
{
	struct stream *stream = open_call("/test/Stream");
	nghttp2_nv list[17];

	(void)state;
	fill_long_value();
	for (size_t i = 0; i < 17; i++) {
		list[i] = (nghttp2_nv){
			.name = (uint8_t *)"x", .namelen = 1, .value = (uint8_t *)long_value, .valuelen = 4095};
	}
	client_turn(test.client);
	assert_int_equal(
		nghttp2_submit_headers(test.client->session, NGHTTP2_FLAG_END_STREAM, stream->id, NULL, list, 17, NULL),
		0);
	client_turn(test.client);
	assert_log("begin cancelled");
	assert_int_equal(stream->error_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_grpc_status(ask(&(struct head){.path = "/test/Unary"}, "next"), GRPC_OK);
}

static void
test_much_metadata(void **state)
{
	const struct grpc_metadata *list;

	(void)state;
	fill_long_value();
	test.keeps = true;
	(void)ask(&(struct head){.path = "/test/Unary", .name = "x", .value = long_value, .count = 3}, "");
	assert_int_equal(grpc_call_metadata_list(test.call, &list), 3);
	assert_true(bytes_equal_text(list[2].value, long_value));
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

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, service_setup, service_teardown)
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_call_that_is_handed_over, service_setup_with_other,
						service_teardown),
		TEST(test_raw_bytes),
		TEST(test_unary),
		TEST(test_stream),
		TEST(test_a_message_split_at_every_byte),
		TEST(test_a_message_byte_by_byte),
		TEST(test_padding),
		TEST(test_much_padding),
		TEST(test_long_messages),
		TEST(test_many_pieces),
		TEST(test_a_text),
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
		TEST(test_far_too_much_metadata),
		TEST(test_far_too_large_trailers),
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
