/* Messages of a call, from its DATA to its method. */
#include "base/container_of.h"
#include "base/memory.h"
#include "grpc/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Shorter messages are not charged to the budget: the limit of calls bounds them. */
#define CHARGED_MIN ((size_t)4096)
/* Longer compressed messages are decompressed on an offload thread. */
#define INFLATE_ON_LOOP ((size_t)16 * 1024)
/* A client that does not speak gRPC gets its answer once that much has been thrown away of its request. */
#define DISCARDED_MAX ((size_t)1 << 20)

static bool
charge(struct grpc_message *message, size_t bytes)
{
	if (!budget_take(message->budget, bytes)) {
		return false;
	}
	message->charged += bytes;
	return true;
}

static void
fail_over_budget(struct grpc_call *call)
{
	call_fail(call, GRPC_RESOURCE_EXHAUSTED,
		  "the requests in flight have used up the memory that they may take together: try again later");
}

/* With the text of gRPC's libraries, as far as the length is known. */
static void
fail_too_long(struct grpc_call *call)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "Received message larger than max (more than %zu after decompression)",
		       call->connection->lane->options->max_message);
	call_fail(call, GRPC_RESOURCE_EXHAUSTED, text);
}

/* --- Decompression --- */

static enum status
unpack(struct inflation *inflation)
{
	struct grpc_message *message = &inflation->received->message;
	struct grpc_message unpacked = {.budget = message->budget, .was_compressed = true};
	struct buf out;
	enum status status;

	buf_init(&out, inflation->maximum);
	status = decompress(inflation->coding, message->content, &out, &inflation->error);
	inflation->is_too_long = status != STATUS_OK && out.length == out.maximum;
	if (status == STATUS_OK && out.length > CHARGED_MIN) {
		inflation->is_over_budget = !charge(&unpacked, out.length);
	}
	if (status == STATUS_OK && !inflation->is_over_budget) {
		unpacked.block = blob_copy(buf_bytes(&out));
		inflation->is_over_budget = unpacked.block == NULL;
	}
	buf_fini(&out);
	if (status == STATUS_OK && !inflation->is_over_budget) {
		unpacked.content = blob_bytes(unpacked.block);
		grpc_message_release(message);
		*message = unpacked;
	}
	return status;
}

static void
on_inflate(struct offload_work *work)
{
	struct inflation *inflation = container_of(work, struct inflation, work);

	inflation->status = unpack(inflation);
}

/* True: the message is ready. False: the call has failed. */
static bool
judge_inflation(struct grpc_call *call, const struct inflation *inflation)
{
	if (inflation->is_too_long) {
		fail_too_long(call);
		return false;
	}
	if (inflation->status != STATUS_OK) {
		call_fail(call, GRPC_INTERNAL, inflation->error.text);
		return false;
	}
	if (inflation->is_over_budget) {
		fail_over_budget(call);
		return false;
	}
	return true;
}

static void
resume_with(struct grpc_call *call, struct inflation *inflation)
{
	call->inflation = NULL;
	inflation->received->is_compressed = false;
	STAILQ_INSERT_HEAD(&call->received, inflation->received, entry);
	if (judge_inflation(call, inflation)) {
		receive_deliver(call);
		connection_touch(call->connection);
	}
}

static void
on_inflated(struct offload_work *work)
{
	struct inflation *inflation = container_of(work, struct inflation, work);
	struct grpc_lane *lane = inflation->lane;

	if (inflation->call != NULL) {
		resume_with(inflation->call, inflation);
	} else {
		received_free(inflation->received);
	}
	free(inflation);
	lane->inflation_count--;
	lane_check_stopped(lane);
}

/* Decompresses the first message. True: it is ready now. */
static bool
inflate_first(struct grpc_call *call)
{
	struct grpc_lane *lane = call->connection->lane;
	struct received *received = STAILQ_FIRST(&call->received);
	struct inflation *inflation = memory_new(sizeof(*inflation));
	bool is_ready;

	*inflation = (struct inflation){.lane = lane,
					.call = call,
					.coding = call->coding,
					.maximum = lane->options->max_message,
					.received = received,
					.work = {.loop = lane->loop,
						 .size = received->message.content.length,
						 .run = on_inflate,
						 .done = on_inflated}};
	if (received->message.content.length > INFLATE_ON_LOOP && lane->offload != NULL) {
		STAILQ_REMOVE_HEAD(&call->received, entry);
		call->inflation = inflation;
		lane->inflation_count++;
		offload_post(lane->offload, &inflation->work);
		return false;
	}
	received->is_compressed = false;
	inflation->status = unpack(inflation);
	is_ready = judge_inflation(call, inflation);
	free(inflation);
	return is_ready;
}

/* --- Delivery --- */

static void
refill_window(struct grpc_call *call)
{
	if (call->unconsumed > 0) {
		(void)nghttp2_session_consume_stream(call->connection->session, call->stream, call->unconsumed);
		call->unconsumed = 0;
		connection_touch(call->connection);
	}
}

static void
deliver_first(struct grpc_call *call)
{
	struct received *received = STAILQ_FIRST(&call->received);
	struct grpc_message message = received->message;

	STAILQ_REMOVE_HEAD(&call->received, entry);
	free(received);
	call->method->message(call, message);
}

/* A method without a stream of messages takes one, when the client has said that there is no other. */
static bool
may_deliver(const struct grpc_call *call)
{
	return !call->is_ended && !call->is_paused && call->inflation == NULL &&
	       (call->method->is_client_streaming || call->is_remote_closed);
}

static void
deliver_end(struct grpc_call *call)
{
	if (!call->is_remote_closed || call->has_half_closed || !may_deliver(call)) {
		return;
	}
	call->has_half_closed = true;
	if (call->method->is_client_streaming) {
		call->method->half_close(call);
	} else if (call->message_count == 0) {
		call_fail(call, GRPC_UNIMPLEMENTED, "the call has no request message");
	}
}

void
receive_deliver(struct grpc_call *call)
{
	while (may_deliver(call) && !STAILQ_EMPTY(&call->received)) {
		if (STAILQ_FIRST(&call->received)->is_compressed && !inflate_first(call)) {
			return;
		}
		deliver_first(call);
	}
	if (STAILQ_EMPTY(&call->received)) {
		deliver_end(call);
	}
	if (!call->is_paused && call->inflation == NULL) {
		refill_window(call);
	}
}

/* --- Assembly --- */

static size_t
stated_length(const struct grpc_call *call)
{
	const uint8_t *at = call->prefix + 1;

	return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | (size_t)at[3];
}

static bool
check_prefix(struct grpc_call *call)
{
	const struct grpc_options *options = call->connection->lane->options;
	size_t length = stated_length(call);
	char text[160];

	if (call->prefix[0] > 1 || (call->prefix[0] == 1 && call->coding == CODING_IDENTITY)) {
		call_fail(call, GRPC_INTERNAL,
			  call->prefix[0] > 1 ? "a message begins with an unknown flag"
					      : "a message is marked as compressed, but grpc-encoding names no coding");
		return false;
	}
	if (length > options->max_message || length > options->budget->limit) {
		size_t most = length > options->max_message ? options->max_message : options->budget->limit;

		(void)snprintf(text, sizeof(text), "Received message larger than max (%zu vs. %zu)", length, most);
		call_fail(call, GRPC_RESOURCE_EXHAUSTED, text);
		return false;
	}
	if (!call->method->is_client_streaming && call->message_count > 0) {
		call_fail(call, GRPC_UNIMPLEMENTED, "the call has more than one request message");
		return false;
	}
	return true;
}

/* Where the message begins in its block, so that its alignment point is aligned; see struct grpc_method. */
static size_t
lead_of(const struct grpc_call *call, size_t length, struct bytes beginning)
{
	size_t point;

	if (call->method->alignment_point == NULL || length <= CHARGED_MIN || call->prefix[0] == 1) {
		return 0;
	}
	point = call->method->alignment_point(beginning);
	return (BLOB_ALIGNMENT - point % BLOB_ALIGNMENT) % BLOB_ALIGNMENT;
}

/* `beginning`: what is there of the message. False: the call has failed. */
static bool
start_message(struct grpc_call *call, struct bytes beginning)
{
	size_t length = stated_length(call);
	size_t lead = lead_of(call, length, beginning);
	struct received *received = memory_new(sizeof(*received));

	received->is_compressed = call->prefix[0] == 1;
	received->message.budget = call->connection->lane->options->budget;
	received->message.block = blob_new(lead + length);
	call->incoming = received;
	call->incoming_left = length;
	call->message_count++;
	call->message_tick = call->connection->lane->ticks;
	if (received->message.block == NULL) {
		fail_over_budget(call);
		return false;
	}
	received->message.content = bytes_make(received->message.block->data + lead, length);
	return true;
}

/* Takes bytes of the message that is being received. False: the call has failed. */
static bool
take_content(struct grpc_call *call, struct bytes *data)
{
	struct grpc_message *message = &call->incoming->message;
	size_t length = data->length < call->incoming_left ? data->length : call->incoming_left;
	size_t at = message->content.length - call->incoming_left;

	if (length > 0) {
		memcpy((uint8_t *)(uintptr_t)message->content.at + at, data->at, length);
	}
	*data = bytes_skip(*data, length);
	call->incoming_left -= length;
	if (message->content.length > CHARGED_MIN && !charge(message, length)) {
		fail_over_budget(call);
		return false;
	}
	if (call->incoming_left == 0) {
		STAILQ_INSERT_TAIL(&call->received, call->incoming, entry);
		call->incoming = NULL;
		call->prefix_length = 0;
	}
	return true;
}

static bool
take_prefix(struct grpc_call *call, struct bytes *data)
{
	while (call->prefix_length < GRPC_PREFIX_SIZE && data->length > 0) {
		call->prefix[call->prefix_length++] = *data->at;
		*data = bytes_skip(*data, 1);
	}
	return call->prefix_length < GRPC_PREFIX_SIZE || check_prefix(call);
}

static void
discard(struct grpc_call *call, size_t length)
{
	call->discarded += length;
	call->unconsumed += length;
	refill_window(call);
	if (call->refusal.http_status > 200 && call->discarded > DISCARDED_MAX && !call->has_headers) {
		send_plain(call, call->refusal.http_status, call->refusal.text);
	}
}

void
receive_data(struct grpc_call *call, struct bytes data)
{
	call->active_tick = call->connection->lane->ticks;
	if (!call->has_begun || call->is_ended) {
		discard(call, data.length);
		return;
	}
	call->unconsumed += data.length;
	while (data.length > 0 && !call->is_ended) {
		if (call->prefix_length < GRPC_PREFIX_SIZE) {
			if (!take_prefix(call, &data)) {
				break;
			}
			if (call->prefix_length < GRPC_PREFIX_SIZE || (data.length == 0 && stated_length(call) > 0)) {
				break; /* the message starts with its first bytes, which may tell how to align it */
			}
		}
		if (call->incoming == NULL && !start_message(call, data)) {
			break;
		}
		if (!take_content(call, &data)) {
			break;
		}
	}
	receive_deliver(call);
}

void
receive_end(struct grpc_call *call)
{
	call->is_remote_closed = true;
	if (call->refusal.http_status > 200 && !call->has_headers) {
		send_plain(call, call->refusal.http_status, call->refusal.text);
	} else if (call->has_begun && !call->is_ended) {
		if (call->prefix_length > 0) {
			call_fail(call, GRPC_INTERNAL, "the request ended within a message");
		} else {
			receive_deliver(call);
		}
	}
}
