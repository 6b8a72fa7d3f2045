/* The bodies of requests: into the buffer, into a block of their own, or to the handler in parts. */
#include "server/connection_internal.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CHUNK_ROOM ((size_t)8 * 1024)
#define INCOMPLETE_MAX 64 /* of each loop: clients that send slowly are not to occupy all that is behind */

void
connection_refuse(struct connection *connection, int http_status, const char *text)
{
	connection->close_after = true;
	connection->linger_after = true;
	body_fini(&connection->body);
	exchange_discharge(&connection->exchange, connection->exchange.charged);
	reply_http_error(&connection->exchange, http_status, text);
}

void
connection_call_handler(struct connection *connection)
{
	connection->state = HANDLING;
	connection->exchange.handler(&connection->exchange);
}

void
connection_leave_body(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;

	if (connection->is_incomplete) {
		connection->is_incomplete = false;
		connection->lane->incomplete_bodies--;
		connection->is_discarding = true;
		connection->discardable = exchange->missing;
		body_fini(&connection->body);
		blob_unref(exchange->body_block);
		exchange->body_block = NULL;
		exchange->body = bytes_make(NULL, 0);
		exchange_discharge(exchange, exchange->charged);
		connection->close_after = true;
		connection->linger_after = true;
	}
}

/* 0 where the field is missing or malformed; the handler reports errors in it. */
static uint64_t
inference_header_length(const struct http1_head *head)
{
	uint64_t number;

	return http1_number(http1_header(head, "inference-header-content-length"), &number) ? number : 0;
}

/* Makes room for chunks behind the head. If the buffer moves, so do the views into the head. */
static void
make_chunk_room(struct connection *connection)
{
	struct bytes old = bytes_make(connection->in, connection->in_length);
	uint8_t *new;

	if (connection->in_capacity - connection->in_length >= CHUNK_ROOM) {
		return;
	}
	new = memory_new(connection->in_length + CHUNK_ROOM);
	memcpy(new, old.at, old.length);
	http1_move(&connection->exchange.head, old, new);
	free(connection->in);
	connection->in = new;
	connection->in_capacity = connection->in_length + CHUNK_ROOM;
}

/* Refuses JSON or a raw body over the path's or the server's limit, and any body over the budget. True: refused. */
static bool
too_large(struct connection *connection, uint64_t length)
{
	const struct exchange *exchange = &connection->exchange;
	uint64_t json = exchange->takes_tensors ? inference_header_length(&exchange->head) : 0;
	uint64_t limited = json == 0 || json > length ? length : json;
	size_t budget = connection->lane->budget->limit;
	char text[256];

	if (limited > exchange->body_limit && exchange->body_limit != exchange->options->max_input_bytes) {
		(void)snprintf(text, sizeof(text),
			       "request body of %" PRIu64 " bytes exceeds the %zu bytes that this path takes", limited,
			       exchange->body_limit);
		connection_refuse(connection, 400, text);
		return true;
	}
	if (limited > exchange->body_limit) {
		(void)snprintf(text, sizeof(text),
			       "request JSON size of %" PRIu64
			       " bytes exceeds the maximum allowed input size of %zu bytes. Use "
			       "--http-max-input-size to increase the limit.",
			       limited, exchange->options->max_input_bytes);
		connection_refuse(connection, 400, text);
		return true;
	}
	if (length > budget) {
		(void)snprintf(text, sizeof(text),
			       "request body of %" PRIu64
			       " bytes is larger than what all bodies in flight may take, %zu "
			       "bytes. Use --http-max-inflight-bytes to increase the limit.",
			       length, budget);
		connection_refuse(connection, 413, text);
		return true;
	}
	return false;
}

static void
tell_over_budget(const struct connection *connection, char *text, size_t size)
{
	(void)snprintf(text, size,
		       "the request bodies in flight have used up the %zu bytes that they may take together: try again "
		       "later. Use --http-max-inflight-bytes to increase the limit.",
		       connection->lane->budget->limit);
}

void
connection_refuse_body(struct connection *connection, enum body_outcome outcome)
{
	char text[256];

	if (outcome == BODY_NO_MEMORY) {
		connection_refuse(connection, 503, "no memory for a request body of this size");
		return;
	}
	tell_over_budget(connection, text, sizeof(text));
	connection_refuse(connection, 503, text);
}

/* Lets the handler, if it takes that, begin with what is there of a body; the block is its exchange's, too. */
static void
offer_part(struct connection *connection, size_t length)
{
	struct exchange *exchange = &connection->exchange;
	struct body *body = &connection->body;

	exchange->body = bytes_make(body->block->data + body->start, length);
	if (exchange->is_left || connection->lane->incomplete_bodies == INCOMPLETE_MAX ||
	    !exchange->takes_parts(exchange)) {
		return; /* it gets the body once that is whole */
	}
	exchange->body_block = blob_ref(body->block);
	exchange->missing = length - body->length;
	connection->is_incomplete = true;
	connection->lane->incomplete_bodies++;
	connection_call_handler(connection);
}

/* Starts a block for a body that is chunked or does not fit into the buffer; copies what was read. */
static void
start_block(struct connection *connection, uint64_t length)
{
	struct exchange *exchange = &connection->exchange;
	size_t json = (size_t)inference_header_length(&exchange->head);
	size_t there = connection->in_length - connection->head_length;
	enum body_outcome outcome = body_start(&connection->body, json, (size_t)length);

	if (outcome == BODY_GOOD && !exchange->head.chunked) {
		memcpy((void *)(uintptr_t)body_room(&connection->body).at, connection->in + connection->head_length,
		       there);
		connection->in_length = connection->head_length;
		outcome = body_add(&connection->body, there, exchange);
	}
	if (outcome != BODY_GOOD) {
		connection_refuse_body(connection, outcome);
		return;
	}
	connection->state = exchange->head.chunked ? READING_CHUNKS : READING_BODY;
	connection_send_continue(connection);
	if (exchange->takes_parts != NULL && !exchange->head.chunked) {
		offer_part(connection, (size_t)length);
	}
}

/* Is the body to be read? False: the exchange has been answered, and the connection closes after that. */
static bool
admitted(struct connection *connection, uint64_t length)
{
	struct exchange *exchange = &connection->exchange;

	connection->close_after = true;
	connection->linger_after = true;
	if ((exchange->admit != NULL && !exchange->admit(exchange)) || too_large(connection, length)) {
		return false;
	}
	connection->close_after = !exchange->head.keep_alive || connection->lane->stopping;
	connection->linger_after = false;
	return true;
}

void
connection_start_body(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;
	uint64_t length = exchange->head.content_length;
	size_t there = connection->in_length - connection->head_length;

	connection->phase_tick = connection->lane->ticks;
	connection->close_after = !exchange->head.keep_alive || connection->lane->stopping;
	if (exchange->head.chunked) {
		make_chunk_room(connection);
	}
	connection->port->route(exchange);
	if (exchange->head.chunked || length > connection->in_capacity - connection->head_length) {
		if (admitted(connection, length)) {
			start_block(connection, length);
		}
	} else if (!too_large(connection, length)) {
		exchange->body = bytes_make(connection->in + connection->head_length, (size_t)length);
		connection->body_here = (size_t)length;
		connection->state = READING_BODY;
		if (there < length) {
			connection_send_continue(connection);
		}
	}
}

bool
connection_read_body(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;

	if (connection->body.block != NULL) {
		if (body_room(&connection->body).length > 0) {
			return false;
		}
		body_hand_over(&connection->body, exchange);
	} else if (connection->in_length - connection->head_length < exchange->body.length) {
		return false;
	}
	connection_call_handler(connection);
	return true;
}

/* Decodes the chunks in `input` into the body's block; moves unread bytes up behind the head. */
static enum http1_progress
take_chunks(struct connection *connection, struct bytes input)
{
	struct body *body = &connection->body;
	struct bytes room = body_room(body);
	struct buf content = {.at = (void *)(uintptr_t)room.at, .capacity = room.length, .maximum = room.length};
	size_t used = 0;
	enum http1_progress progress = http1_feed_chunks(connection->parser, input, &content, &used);

	memmove(connection->in + connection->head_length, connection->in + connection->head_length + used,
		input.length - used);
	connection->in_length -= used;
	if (body_add(body, content.length, &connection->exchange) != BODY_GOOD) {
		connection_refuse_body(connection, BODY_OVER_BUDGET);
	}
	return progress;
}

bool
connection_read_chunks(struct connection *connection)
{
	struct bytes input =
		bytes_make(connection->in + connection->head_length, connection->in_length - connection->head_length);
	enum http1_progress progress;

	if (input.length == 0) {
		return false;
	}
	if (body_reserve(&connection->body, input.length) != BODY_GOOD) { /* content is no longer than its chunks */
		connection_refuse_body(connection, BODY_NO_MEMORY);
		return true;
	}
	progress = take_chunks(connection, input);
	if (connection->state != READING_CHUNKS || too_large(connection, connection->body.length)) {
		return true;
	}
	switch (progress) {
	case HTTP1_MORE:
		return false;
	case HTTP1_DONE:
		body_hand_over(&connection->body, &connection->exchange);
		connection_call_handler(connection);
		return true;
	default:
		connection_refuse(connection, 400, http1_reason(connection->parser));
		return true;
	}
}

void
connection_lose_body(struct connection *connection, int status, const char *text)
{
	struct exchange *exchange = &connection->exchange;

	connection->close_after = true;
	connection->linger_after = true;
	exchange->lost.status = status;
	exchange->lost.text = text;
	if (exchange->gone != NULL) {
		exchange->gone(exchange);
	}
}

bool
connection_take_part(struct connection *connection, size_t count)
{
	struct exchange *exchange = &connection->exchange;

	if (body_add(&connection->body, count, exchange) != BODY_GOOD) {
		char text[256];

		tell_over_budget(connection, text, sizeof(text));
		connection_lose_body(connection, 503, text);
		return false;
	}
	exchange->missing -= count;
	if (exchange->missing == 0) {
		connection->is_incomplete = false;
		connection->lane->incomplete_bodies--;
		body_fini(&connection->body);
	}
	if (exchange->more != NULL) {
		exchange->more(exchange, count);
	}
	return true;
}
