#include "grpc/service_fixture.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/unit_test.h"

#include <stdio.h>
#include <stdlib.h>

#define PATIENCE_MS 10000

struct service test;

void
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

void
send_bytes(struct grpc_call *call, struct bytes bytes)
{
	struct text_output *output = memory_new(sizeof(*output));

	test.sent++;
	buf_init(&output->text, bytes.length);
	buf_append(&output->text, bytes);
	output->piece = buf_bytes(&output->text);
	output->output = (struct grpc_output){
		.pieces = &output->piece, .count = 1, .is_raw = test.is_raw, .released = on_released};
	grpc_call_send(call, &output->output);
}

void
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
static void
on_stopping(struct grpc_call *call)
{
	note("stopping");
	grpc_call_finish(call, GRPC_UNAVAILABLE, bytes_make(NULL, 0));
}

static const struct grpc_method idle = {.path = "/test/Idle",
					.is_client_streaming = true,
					.begin = on_begin,
					.message = on_message,
					.half_close = on_half_close,
					.cancelled = on_cancelled,
					.stopping = on_stopping};

static void
on_other(struct grpc_call *call, struct grpc_message message)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%.*s", BYTES_ARGS(grpc_call_path(call)));
	note(path);
	grpc_call_hand_over(call, &stream_method);
	stream_method.message(call, message);
}

static const struct grpc_method other = {.is_client_streaming = false, .message = on_other, .cancelled = on_cancelled};
static const struct grpc_method *const methods[] = {&unary, &stream_method, &idle};

/* --- For tests --- */

int
service_setup(void **state)
{
	static const struct grpc_options options = {.methods = methods,
						    .method_count = 3,
						    .keepalive_timeout_ms = 20000,
						    .min_ping_interval_ms = 300000,
						    .max_ping_strikes = 2};

	(void)state;
	memset(&test, 0, sizeof(test));
	test.client = client_new(&options);
	return 0;
}

int
service_setup_with_other(void **state)
{
	static const struct grpc_options options = {.methods = methods, .method_count = 3, .other = &other};

	(void)state;
	memset(&test, 0, sizeof(test));
	test.client = client_new(&options);
	return 0;
}

int
service_teardown(void **state)
{
	(void)state;
	client_free(test.client);
	assert_int_equal(test.released, test.sent);
	return 0;
}

struct stream *
open_call(const char *path)
{
	return client_open(test.client, &(struct head){.path = path});
}

void
say(struct stream *stream, const char *message)
{
	client_message(test.client, stream, bytes_text(message));
}

struct stream *
ask(const struct head *head, const char *message)
{
	struct stream *stream = client_open(test.client, head);

	say(stream, message);
	client_half_close(test.client, stream);
	client_turn(test.client);
	return stream;
}

struct bytes
zeros(size_t length)
{
	static const uint8_t much[6 << 20];

	return bytes_make(much, length);
}

void
assert_log(const char *expected)
{
	assert_string_equal(test.log, expected);
}

void
wait_log(const char *expected)
{
	uint64_t end = clock_now_ns() + PATIENCE_MS * NS_PER_MS;

	while (strcmp(test.log, expected) != 0 && clock_now_ns() < end) {
		client_turn(test.client);
	}
	assert_log(expected);
}
