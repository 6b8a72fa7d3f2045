/*
 * interop_server: the test service of gRPC's own interoperability tests (grpc.testing.TestService; the cases are
 * described in doc/interop-test-descriptions.md of the grpc project). Prints its port, and serves until SIGTERM.
 * interop_server CERT KEY: the same over TLS.
 */
#include "base/memory.h"
#include "tests/grpc/program.h"

#include <stdio.h>
#include <stdlib.h>

/* Field numbers. */
enum { SIMPLE_SIZE = 2, SIMPLE_COMPRESSED = 6, ANY_STATUS = 7, SIMPLE_EXPECT = 8 };
enum { OUTPUT_PARAMETERS = 2 };
enum { PARAMETERS_SIZE = 1, PARAMETERS_INTERVAL = 2, PARAMETERS_COMPRESSED = 3 };
enum { INPUT_PAYLOAD = 1, INPUT_EXPECT = 2, PAYLOAD_BODY = 2 };

#define SIZE_MOST (UINT64_C(16) << 20)
#define US_PER_MS 1000

/* A message to send. */
struct item {
	uint64_t size;
	uint64_t interval_us;
	bool is_compressed;
	bool ends; /* the call, with the status instead of a message */
	uint64_t code;
	char *text;
};

struct stream {
	struct grpc_call *call;
	struct loop_timer *timer;
	struct item *items;
	size_t item_count;
	size_t sent;
	uint64_t received;  /* bytes of payload */
	bool waits_for_end; /* sends nothing before the client's half-close */
	bool has_half_closed;
	bool is_waiting; /* for the timer */
};

static void
free_stream(struct stream *stream)
{
	for (size_t i = 0; i < stream->item_count; i++) {
		free(stream->items[i].text);
	}
	free(stream->items);
	loop_timer_free(stream->timer);
	free(stream);
}

/* --- Replies --- */

/* A response whose payload has `size` zero bytes. */
static void
send_payload(struct grpc_call *call, uint64_t size, bool compress)
{
	struct buf payload;
	struct buf text;
	uint8_t *room;

	buf_init(&payload, 2 * SIZE_MOST);
	buf_init(&text, 2 * SIZE_MOST);
	protobuf_put_tag(&payload, PAYLOAD_BODY, PROTOBUF_BYTES);
	protobuf_put_varint(&payload, size);
	room = buf_reserve(&payload, size);
	if (size > 0 && room != NULL) {
		memset(room, 0, size);
		payload.length += size;
	}
	protobuf_put_bytes(&text, 1, buf_bytes(&payload));
	buf_fini(&payload);
	program_send(call, &text, compress);
}

static void
finish(struct stream *stream, uint64_t code, const char *text)
{
	program_finish(stream->call, code, bytes_text(text));
	free_stream(stream);
}

static bool
has_item(const struct stream *stream)
{
	return (!stream->waits_for_end || stream->has_half_closed) && stream->sent < stream->item_count;
}

/* Waits as long as the next item says. False: it is to be sent now. */
static bool
wait_first(struct stream *stream)
{
	struct item *item = &stream->items[stream->sent];

	if (item->interval_us == 0) {
		return false;
	}
	stream->is_waiting = true;
	loop_timer_set(stream->timer, (item->interval_us + US_PER_MS - 1) / US_PER_MS);
	item->interval_us = 0;
	return true;
}

/* Sends what is due; ends the call after the last item. */
static void
go_on(struct stream *stream)
{
	while (!stream->is_waiting && has_item(stream)) {
		const struct item *item = &stream->items[stream->sent];

		if (wait_first(stream)) {
			return;
		}
		if (item->ends) {
			finish(stream, item->code, item->text);
			return;
		}
		send_payload(stream->call, item->size, item->is_compressed);
		stream->sent++;
	}
	if (!stream->is_waiting && stream->has_half_closed) {
		finish(stream, GRPC_OK, "");
	}
}

static void
on_timer(void *argument)
{
	struct stream *stream = argument;

	stream->is_waiting = false;
	go_on(stream);
}

/* --- Requests --- */

static void
echo(struct grpc_call *call)
{
	struct bytes header = grpc_call_metadata(call, "x-grpc-test-echo-initial");
	struct bytes trailer = grpc_call_metadata(call, "x-grpc-test-echo-trailing-bin");

	program_set_coding(call);
	if (header.at != NULL) {
		grpc_call_add_header(call, "x-grpc-test-echo-initial", header);
	}
	if (trailer.at != NULL) {
		grpc_call_add_trailer(call, "x-grpc-test-echo-trailing-bin", trailer);
	}
}

/* Was the message compressed as the client says that it is? `expect`: a BoolValue, perhaps absent. */
static bool
is_as_expected(const struct grpc_message *message, struct bytes expect)
{
	return expect.at == NULL || (message_number(expect, 1) != 0) == message->was_compressed;
}

static struct stream *
new_stream(struct grpc_call *call)
{
	struct stream *stream = memory_new(sizeof(*stream));

	echo(call);
	stream->call = call;
	stream->timer = loop_timer_new(grpc_call_context(call), on_timer, stream);
	grpc_call_set_state(call, stream);
	return stream;
}

static void
on_begin(struct grpc_call *call)
{
	(void)new_stream(call);
}

static void
on_begin_half_duplex(struct grpc_call *call)
{
	new_stream(call)->waits_for_end = true;
}

static void
on_cancelled(struct grpc_call *call)
{
	free_stream(grpc_call_state(call));
}

static void
add_item(struct stream *stream, struct item item)
{
	stream->items = memory_grow(stream->items, stream->item_count + 1, sizeof(*stream->items));
	stream->items[stream->item_count++] = item;
}

static char *
text_of(struct bytes bytes)
{
	return memory_text_of(bytes);
}

/* Adds what the request asks for: a status, or messages. */
static void
add_items(struct stream *stream, struct bytes request)
{
	struct bytes status = message_bytes(request, ANY_STATUS);
	struct bytes parameters;

	if (message_number(status, 1) != 0) {
		add_item(stream, (struct item){.ends = true,
					       .code = message_number(status, 1),
					       .text = text_of(message_bytes(status, 2))});
		return;
	}
	while (message_next(&request, OUTPUT_PARAMETERS, &parameters)) {
		uint64_t size = message_number(parameters, PARAMETERS_SIZE);
		struct bytes compressed = message_bytes(parameters, PARAMETERS_COMPRESSED);

		add_item(stream, (struct item){.size = size < SIZE_MOST ? size : SIZE_MOST,
					       .interval_us = message_number(parameters, PARAMETERS_INTERVAL),
					       .is_compressed = message_number(compressed, 1) != 0});
	}
}

/* --- Methods --- */

static void
on_empty(struct grpc_call *call, struct grpc_message message)
{
	struct buf text;

	grpc_message_release(&message);
	buf_init(&text, 0);
	program_send(call, &text, false);
	grpc_call_finish(call, GRPC_OK, bytes_make(NULL, 0));
}

static void
on_unary(struct grpc_call *call, struct grpc_message message)
{
	struct bytes status = message_bytes(message.content, ANY_STATUS);
	bool is_expected = is_as_expected(&message, message_bytes(message.content, SIMPLE_EXPECT));
	bool compress = message_number(message_bytes(message.content, SIMPLE_COMPRESSED), 1) != 0;
	uint64_t size = message_number(message.content, SIMPLE_SIZE);

	if (!is_expected || size > SIZE_MOST) {
		grpc_call_finish(call, GRPC_INVALID_ARGUMENT, bytes_text("expected otherwise"));
	} else if (message_number(status, 1) != 0) {
		program_finish(call, message_number(status, 1), message_bytes(status, 2));
	} else {
		send_payload(call, size, compress);
		grpc_call_finish(call, GRPC_OK, bytes_make(NULL, 0));
	}
	grpc_message_release(&message);
}

static void
on_streaming_output(struct grpc_call *call, struct grpc_message message)
{
	struct stream *stream = grpc_call_state(call);

	add_items(stream, message.content);
	grpc_message_release(&message);
	stream->has_half_closed = true;
	go_on(stream);
}

static void
on_streaming_input(struct grpc_call *call, struct grpc_message message)
{
	struct stream *stream = grpc_call_state(call);
	bool is_expected = is_as_expected(&message, message_bytes(message.content, INPUT_EXPECT));

	stream->received += message_bytes(message_bytes(message.content, INPUT_PAYLOAD), PAYLOAD_BODY).length;
	grpc_message_release(&message);
	if (!is_expected) {
		finish(stream, GRPC_INVALID_ARGUMENT, "expected otherwise");
	}
}

static void
on_input_end(struct grpc_call *call)
{
	struct stream *stream = grpc_call_state(call);
	struct buf text;

	buf_init(&text, 64);
	protobuf_put_number(&text, 1, stream->received);
	program_send(call, &text, false);
	finish(stream, GRPC_OK, "");
}

static void
on_duplex(struct grpc_call *call, struct grpc_message message)
{
	struct stream *stream = grpc_call_state(call);

	add_items(stream, message.content);
	grpc_message_release(&message);
	go_on(stream);
}

static void
on_duplex_end(struct grpc_call *call)
{
	struct stream *stream = grpc_call_state(call);

	stream->has_half_closed = true;
	go_on(stream);
}

#define PATH(name) .path = "/grpc.testing.TestService/" name

static const struct grpc_method methods[] = {
	{PATH("EmptyCall"), .message = on_empty},
	{PATH("UnaryCall"), .begin = echo, .message = on_unary},
	{PATH("StreamingOutputCall"), .begin = on_begin, .message = on_streaming_output, .cancelled = on_cancelled},
	{PATH("StreamingInputCall"), .is_client_streaming = true, .begin = on_begin, .message = on_streaming_input,
	 .half_close = on_input_end, .cancelled = on_cancelled},
	{PATH("FullDuplexCall"), .is_client_streaming = true, .begin = on_begin, .message = on_duplex,
	 .half_close = on_duplex_end, .cancelled = on_cancelled},
	{PATH("HalfDuplexCall"), .is_client_streaming = true, .begin = on_begin_half_duplex, .message = on_duplex,
	 .half_close = on_duplex_end, .cancelled = on_cancelled},
};

static void
print_port(uint16_t port)
{
	(void)printf("%u\n", port);
	(void)fflush(stdout);
}

int
main(int argc, char **argv)
{
	static const struct grpc_method *const list[] = {&methods[0], &methods[1], &methods[2],
							 &methods[3], &methods[4], &methods[5]};

	return program_serve(&(struct program_options){.methods = list,
						       .method_count = sizeof(list) / sizeof(*list),
						       .tls = {.service = "grpc",
							       .protocol = "h2",
							       .cert = argc == 3 ? argv[1] : NULL,
							       .key = argc == 3 ? argv[2] : NULL},
						       .started = print_port});
}
