/* Messages of a call, from its DATA to its method. */
#include "base/container_of.h"
#include "base/memory.h"
#include "grpc/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Shorter messages of calls with one message are not charged to the budget: the limit of calls bounds them. */
#define CHARGED_MIN ((size_t)4096)
/* What a message takes beside its content. */
#define OVERHEAD (sizeof(struct received) + sizeof(struct blob) + BLOB_ALIGNMENT)
/* The first block of a message that says that it is longer: it may not come. */
#define FIRST_BLOCK ((size_t)4 << 20)
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

/* What a message may unpack to before its room grows, which takes another try. */
#define UNPACK_FIRST ((size_t)4096)

/* Unpacks into a block of `room` bytes, which have been charged. *fits: the room was large enough. */
static enum status
unpack_into(struct inflation *inflation, struct grpc_message *unpacked, size_t room, bool *fits)
{
	struct buf out = {.capacity = room, .maximum = room};
	enum status status;

	*fits = true;
	unpacked->block = blob_new(room);
	if (unpacked->block == NULL) {
		inflation->is_over_budget = true;
		return STATUS_OK;
	}
	out.at = unpacked->block->data;
	status = decompress(inflation->coding, inflation->received->message.content, &out, &inflation->error);
	*fits = status == STATUS_OK || out.length < room;
	unpacked->content = buf_bytes(&out);
	return status;
}

/* Charges before it unpacks, and as much as it unpacks: a small message may become a large one. */
static enum status
unpack(struct inflation *inflation)
{
	struct grpc_message *message = &inflation->received->message;
	struct grpc_message unpacked = {.budget = message->budget, .was_compressed = true};
	size_t room = 4 * message->content.length;
	enum status status = STATUS_OK;
	bool fits = false;

	room = room < UNPACK_FIRST ? UNPACK_FIRST : room;
	while (!fits && !inflation->is_over_budget && !inflation->is_too_long) {
		room = room > inflation->maximum ? inflation->maximum : room;
		blob_unref(unpacked.block);
		unpacked.block = NULL;
		inflation->is_over_budget = !charge(&unpacked, room - unpacked.charged);
		if (!inflation->is_over_budget) {
			status = unpack_into(inflation, &unpacked, room, &fits);
			inflation->is_too_long = !fits && room == inflation->maximum;
		}
		room *= 4;
	}
	if (status != STATUS_OK || inflation->is_over_budget) {
		grpc_message_release(&unpacked);
		return inflation->is_over_budget ? STATUS_OK : status; /* of the last try, which was too small */
	}
	budget_give(unpacked.budget, unpacked.charged - unpacked.content.length);
	unpacked.charged = unpacked.content.length;
	grpc_message_release(message);
	*message = unpacked;
	return STATUS_OK;
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
		call_fail(
			call, GRPC_INTERNAL,
			"a message cannot be decompressed: it is damaged, or unpacks to more than 512 times its size");
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
	call->active_tick = call->message_tick = inflation->lane->ticks;
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
	size_t most = lane->options->max_message < lane->options->budget->limit ? lane->options->max_message
										: lane->options->budget->limit;
	bool is_ready;

	*inflation = (struct inflation){.lane = lane,
					.call = call,
					.coding = call->coding,
					.maximum = most,
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

bool
receive_is_held_up(const struct grpc_call *call)
{
	return call->is_paused || call->is_backed_up || call->inflation != NULL;
}

/* A method without a stream of messages takes one, when the client has said that there is no other. */
static bool
may_deliver(struct grpc_call *call)
{
	call->is_backed_up = call->is_backed_up || send_is_backed_up(call, 1);
	return !call->is_ended && !receive_is_held_up(call) &&
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

/* So many messages of a call are delivered in a turn; then the others have theirs. */
#define DELIVERED_AT_ONCE 64

void
receive_deliver(struct grpc_call *call)
{
	unsigned delivered = 0;

	while (may_deliver(call) && !STAILQ_EMPTY(&call->received)) {
		if (delivered++ == DELIVERED_AT_ONCE) {
			call_resume_later(call);
			return;
		}
		if (STAILQ_FIRST(&call->received)->is_compressed && !inflate_first(call)) {
			return;
		}
		deliver_first(call);
	}
	if (STAILQ_EMPTY(&call->received)) {
		deliver_end(call);
	}
	if (!receive_is_held_up(call)) {
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
	struct grpc_message *message = &received->message;

	received->is_compressed = call->prefix[0] == 1;
	message->budget = call->connection->lane->options->budget;
	message->block = blob_new(lead + (length < FIRST_BLOCK ? length : FIRST_BLOCK));
	call->incoming = received;
	call->incoming_left = length;
	call->message_count++;
	call->message_tick = call->connection->lane->ticks;
	if (message->block == NULL || (call->method->is_client_streaming && !charge(message, OVERHEAD))) {
		fail_over_budget(call);
		return false;
	}
	message->content = bytes_make(message->block->data + lead, length);
	return true;
}

/* Makes room in the block for the first `length` bytes of the message. */
static bool
grow_block(struct grpc_message *message, size_t length)
{
	size_t lead = (size_t)(message->content.at - message->block->data);
	size_t there = message->block->length - lead;
	size_t more = there * 4 < message->content.length ? there * 4 : message->content.length;
	struct blob *larger;

	if (length <= there) {
		return true;
	}
	larger = blob_new(lead + more);
	if (larger == NULL) {
		return false;
	}
	memcpy(larger->data + lead, message->content.at, there);
	blob_unref(message->block);
	message->block = larger;
	message->content.at = larger->data + lead;
	return true;
}

static bool
is_charged(const struct grpc_call *call)
{
	return call->method->is_client_streaming || call->incoming->message.content.length > CHARGED_MIN;
}

/* Takes bytes of the message that is being received. False: the call has failed. */
static bool
take_content(struct grpc_call *call, struct bytes *data)
{
	struct grpc_message *message = &call->incoming->message;
	size_t length = data->length < call->incoming_left ? data->length : call->incoming_left;
	size_t at = message->content.length - call->incoming_left;

	if ((is_charged(call) && !charge(message, length)) || !grow_block(message, at + length)) {
		fail_over_budget(call);
		return false;
	}
	if (length > 0) {
		memcpy((uint8_t *)(uintptr_t)message->content.at + at, data->at, length);
	}
	*data = bytes_skip(*data, length);
	call->incoming_left -= length;
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
