#include "server/connection_internal.h"

#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BUFFER_SIZE ((size_t)16 * 1024)
#define HEAD_MAX ((size_t)64 * 1024)
#define CHUNK_ROOM ((size_t)8 * 1024)
#define ARENA_MAX ((size_t)1 << 30)
#define TEXT_MAX ((size_t)2 << 30)
#define TEXT_KEPT ((size_t)64 * 1024)

/* Seconds that a peer may be silent: between requests (IDLE), within a request or a reply (STALL). */
#define IDLE_LIMIT 600
#define STALL_LIMIT 60
#define STOPPING_LIMIT 5 /* in place of STALL_LIMIT while the server stops */
#define LINGER_LIMIT 5

/* A whole head must arrive within STALL_LIMIT; a body or a reply gets one second more per SLOWEST bytes moved. */
#define SLOWEST ((size_t)4096)
#define LINGER_TOTAL 30
#define LATE "the request did not come to its end in time"

/* The same while request bodies use more than half of their budget. */
#define SCARCE_LIMIT 5
#define SCARCE_SLOWEST ((size_t)64 * 1024)

static void advance(struct connection *connection);
static void await_stream(struct connection *connection);

/* --- Life --- */

static void
close_connection(struct connection *connection)
{
	struct server_lane *lane = connection->lane;

	TAILQ_REMOVE(&lane->connections, connection, lane_entry);
	loop_watch_free(connection->watch);
	transport_close(&connection->transport);
	blob_unref(connection->exchange.held);
	blob_unref(connection->exchange.body_block);
	arena_fini(&connection->exchange.arena);
	buf_fini(&connection->exchange.text);
	buf_fini(&connection->stream.backlog);
	loop_task_free(connection->stream.release);
	body_fini(&connection->body);
	exchange_discharge(&connection->exchange, connection->exchange.charged);
	http1_free(connection->parser);
	free(connection->in);
	free(connection);
	if (lane->stopping && TAILQ_EMPTY(&lane->connections)) {
		lane->stopped(lane);
	}
}

/* Bytes of `in` that belong to the current message. */
static size_t
message_length(const struct connection *connection)
{
	return connection->head_length + connection->body_here;
}

/* Resets the connection for the next request; moves bytes already read of that to the front. */
static void
next_request(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;
	size_t used = message_length(connection);

	blob_unref(exchange->held);
	blob_unref(exchange->body_block);
	exchange->held = NULL;
	exchange->body_block = NULL;
	exchange->body = bytes_make(NULL, 0);
	exchange->gone = NULL;
	exchange->drained = NULL;
	exchange->more = NULL;
	exchange->missing = 0;
	exchange->lost.status = 0;
	exchange->pass_reason = PASS_NO_INFERENCE;
	connection->stream.is_complete = false;
	exchange_discharge(exchange, exchange->charged);
	exchange->head.method = HTTP1_OTHER;
	exchange->head.header_count = 0;
	arena_clear(&exchange->arena);
	if (exchange->text.capacity > TEXT_KEPT) {
		buf_fini(&exchange->text);
		buf_init(&exchange->text, TEXT_MAX);
	}
	buf_clear(&exchange->text);
	if (used < connection->in_length) {
		memmove(connection->in, connection->in + used, connection->in_length - used);
	}
	connection->in_length -= used;
	connection->in_parsed = 0;
	connection->head_length = 0;
	connection->body_here = 0;
	connection->state = READING_HEAD;
	connection->phase_tick = connection->lane->ticks;
	if (connection->in_capacity > BUFFER_SIZE && connection->in_length <= BUFFER_SIZE) { /* after a long head */
		connection->in_capacity = BUFFER_SIZE;
		connection->in = memory_grow(connection->in, BUFFER_SIZE, 1);
	}
}

/* --- Replies --- */

/* False: the connection has been freed. */
static bool
write_reply(struct connection *connection)
{
	if (!connection_write(connection)) {
		close_connection(connection);
		return false;
	}
	if (connection->written < connection->total) {
		loop_watch_set(connection->watch, transport_events(&connection->transport, LOOP_WRITE));
	}
	return true;
}

static void
start_lingering(struct connection *connection)
{
	transport_shutdown(&connection->transport);
	connection->state = LINGERING;
	connection->active_tick = connection->lane->ticks;
	connection->phase_tick = connection->lane->ticks;
	loop_watch_set(connection->watch, LOOP_READ);
}

/* Nobody needs the rest of the body. What comes is thrown away, so that its sender reads the reply. */
static void
leave_body(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;

	if (connection->is_incomplete) {
		connection->is_incomplete = false;
		body_fini(&connection->body);
		blob_unref(exchange->body_block);
		exchange->body_block = NULL;
		exchange_discharge(exchange, exchange->charged);
		connection->close_after = true;
		connection->linger_after = true;
	}
}

/* Called when the reply has been written. False: the connection has been freed. */
static bool
after_reply(struct connection *connection)
{
	leave_body(connection);
	if (connection->linger_after && !connection->exchange.is_left && !connection->lane->stopping) {
		start_lingering(connection);
		return true;
	}
	if (connection->close_after || connection->exchange.is_left) {
		/* A peer that closed its side still gets the replies to all requests that it had sent. */
		if (connection->close_after || connection->in_length == message_length(connection)) {
			close_connection(connection);
			return false;
		}
	}
	next_request(connection);
	return true;
}

static void
connection_reply(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;

	leave_body(connection);
	connection->state = WRITING;
	connection->active_tick = connection->lane->ticks; /* the handler's time is not the peer's silence */
	connection->phase_tick = connection->lane->ticks;
	connection_begin_reply(connection);
	if (!connection->in_progress) {
		advance(connection);
	}
}

/* --- Reading --- */

/* Replies an error to a malformed request, or to one whose rest is not read; then ends the connection. */
static void
refuse(struct connection *connection, int http_status, const char *text)
{
	connection->close_after = true;
	connection->linger_after = true;
	body_fini(&connection->body);
	exchange_discharge(&connection->exchange, connection->exchange.charged);
	reply_http_error(&connection->exchange, http_status, text);
}

static void
call_handler(struct connection *connection)
{
	connection->state = HANDLING;
	connection->exchange.handler(&connection->exchange);
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
		refuse(connection, 400, text);
		return true;
	}
	if (limited > exchange->body_limit) {
		(void)snprintf(text, sizeof(text),
			       "request JSON size of %" PRIu64
			       " bytes exceeds the maximum allowed input size of %zu bytes. Use "
			       "--http-max-input-size to increase the limit.",
			       limited, exchange->options->max_input_bytes);
		refuse(connection, 400, text);
		return true;
	}
	if (length > budget) {
		(void)snprintf(text, sizeof(text),
			       "request body of %" PRIu64
			       " bytes is larger than what all bodies in flight may take, %zu "
			       "bytes. Use --http-max-inflight-bytes to increase the limit.",
			       length, budget);
		refuse(connection, 413, text);
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

static void
refuse_body(struct connection *connection, enum body_outcome outcome)
{
	char text[256];

	if (outcome == BODY_NO_MEMORY) {
		refuse(connection, 503, "no memory for a request body of this size");
		return;
	}
	tell_over_budget(connection, text, sizeof(text));
	refuse(connection, 503, text);
}

/* Lets the handler, if it takes that, begin with what is there of a body; the block is its exchange's, too. */
static void
offer_part(struct connection *connection, size_t length)
{
	struct exchange *exchange = &connection->exchange;
	struct body *body = &connection->body;

	exchange->body = bytes_make(body->block->data + body->start, length);
	if (!exchange->takes_parts(exchange)) {
		return; /* it gets the body once that is whole */
	}
	exchange->body_block = blob_ref(body->block);
	exchange->missing = length - body->length;
	connection->is_incomplete = true;
	call_handler(connection);
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
		refuse_body(connection, outcome);
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

static void
start_body(struct connection *connection)
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

/* True: go on with the new state. False: more bytes are needed. */
static bool
read_head(struct connection *connection)
{
	size_t used = 0;

	if (connection->in_length == connection->in_parsed) {
		return false;
	}
	switch (http1_feed_head(connection->parser, bytes_make(connection->in, connection->in_length),
				connection->in_parsed, &connection->exchange.head, &used)) {
	case HTTP1_MORE:
		connection->in_parsed = connection->in_length;
		if (connection->in_length >= HEAD_MAX) {
			refuse(connection, 431, "request header is too large");
			return true;
		}
		return false;
	case HTTP1_DONE:
		connection->head_length = used;
		start_body(connection);
		return true;
	case HTTP1_UNSUPPORTED:
		refuse(connection, 501, http1_reason(connection->parser));
		return true;
	case HTTP1_TOO_LARGE:
		refuse(connection, 431, "request has too many header fields");
		return true;
	case HTTP1_MALFORMED:
		break;
	}
	refuse(connection, 400, http1_reason(connection->parser));
	return true;
}

static bool
read_body(struct connection *connection)
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
	call_handler(connection);
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
		refuse_body(connection, BODY_OVER_BUDGET);
	}
	return progress;
}

static bool
read_chunks(struct connection *connection)
{
	struct bytes input =
		bytes_make(connection->in + connection->head_length, connection->in_length - connection->head_length);
	enum http1_progress progress;

	if (input.length == 0) {
		return false;
	}
	if (body_reserve(&connection->body, input.length) != BODY_GOOD) { /* content is no longer than its chunks */
		refuse_body(connection, BODY_NO_MEMORY);
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
		call_handler(connection);
		return true;
	default:
		refuse(connection, 400, http1_reason(connection->parser));
		return true;
	}
}

/* Waits for the peer's bytes. Those that TLS has got already come as soon as other connections had their turn. */
static void
await_bytes(struct connection *connection)
{
	unsigned events = transport_events(&connection->transport, LOOP_READ);

	loop_watch_set(connection->watch, events);
	if (events == LOOP_READ && transport_pending(&connection->transport)) {
		loop_watch_wake(connection->watch);
	}
}

/* Runs the state machine until it needs more bytes, the handler or the socket. May free the connection. */
static void
advance(struct connection *connection)
{
	bool more = true;

	connection->in_progress = true;
	while (more) {
		switch (connection->state) {
		case READING_HEAD:
			more = read_head(connection);
			break;
		case READING_BODY:
			more = read_body(connection);
			break;
		case READING_CHUNKS:
			more = read_chunks(connection);
			break;
		case WRITING:
			if (!write_reply(connection)) {
				return;
			}
			more = connection->written == connection->total;
			if (more && !after_reply(connection)) {
				return;
			}
			break;
		case HANDLING:
		case STREAMING:
		case LINGERING:
			more = false;
			break;
		}
	}
	connection->in_progress = false;
	if (connection->state == HANDLING && connection->is_incomplete) {
		await_bytes(connection);
	}
	if (connection->state == READING_HEAD || connection->state == READING_BODY ||
	    connection->state == READING_CHUNKS) {
		if (connection->exchange.is_left) {
			close_connection(connection);
			return;
		}
		await_bytes(connection);
	}
}

/* Returns the room for the next bytes from the socket. Length 0: none for now. */
static struct iovec
next_room(struct connection *connection)
{
	if (connection->is_incomplete || (connection->state == READING_BODY && connection->body.block != NULL)) {
		struct bytes room = body_room(&connection->body);

		return (struct iovec){.iov_base = (void *)(uintptr_t)room.at, .iov_len = room.length};
	}
	if (connection->in_length == connection->in_capacity && connection->state == READING_HEAD &&
	    connection->in_capacity < HEAD_MAX) {
		connection->in_capacity *= 2;
		connection->in = memory_grow(connection->in, connection->in_capacity, 1);
	}
	return (struct iovec){.iov_base = connection->in + connection->in_length,
			      .iov_len = connection->in_capacity - connection->in_length};
}

static void
throw_away(struct connection *connection)
{
	uint8_t waste[16384];
	ssize_t got = recv(connection->transport.fd, waste, sizeof(waste), 0);

	if (got > 0) {
		connection->active_tick = connection->lane->ticks;
	} else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
		close_connection(connection);
	}
}

/* Goes on after the end of a stream. May free the connection. */
static void
end_stream(struct connection *connection)
{
	if (after_reply(connection)) {
		advance(connection);
	}
}

/* May free the connection. */
static void
peer_gone(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;

	connection->exchange.is_left = true;
	loop_watch_set(connection->watch, 0);
	if (connection->state != HANDLING && connection->state != STREAMING) {
		advance(connection);
	} else if (exchange->gone != NULL && !connection->stream.is_complete) {
		exchange->gone(exchange);
	} else if (connection->state == STREAMING) {
		end_stream(connection);
	}
}

/* May free the connection. */
static void
on_broken(struct connection *connection, int failure)
{
	if (failure == EPROTO) {
		log_verbose("TLS with a client failed: %s", connection->transport.failure);
	}
	if (connection->state == HANDLING || connection->state == STREAMING) { /* the handler holds the exchange */
		connection->close_after = true;
		peer_gone(connection);
	} else if (failure == EPROTO && !connection->lane->stopping) {
		start_lingering(connection); /* so that the peer reads OpenSSL's alert */
	} else {
		close_connection(connection);
	}
}

/* Ends a request whose body does not come whole. May free the connection. */
static void
lose_body(struct connection *connection, int status, const char *text)
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

/* More of a body that the handler has. May free the connection. */
static void
take_part(struct connection *connection, size_t count)
{
	struct exchange *exchange = &connection->exchange;

	if (body_add(&connection->body, count, exchange) != BODY_GOOD) {
		char text[256];

		tell_over_budget(connection, text, sizeof(text));
		lose_body(connection, 503, text);
		return;
	}
	exchange->missing -= count;
	if (exchange->missing == 0) {
		connection->is_incomplete = false;
		body_fini(&connection->body);
	}
	if (exchange->more != NULL) {
		exchange->more(exchange, count);
	}
	if (connection->state == STREAMING) {
		await_stream(connection);
	} else {
		await_bytes(connection);
	}
}

/* May free the connection. */
static void
take_bytes(struct connection *connection, size_t count)
{
	if (connection->is_incomplete) {
		take_part(connection, count);
		return;
	}
	if (connection->state == READING_BODY && connection->body.block != NULL) {
		if (body_add(&connection->body, count, &connection->exchange) != BODY_GOOD) {
			refuse_body(connection, BODY_OVER_BUDGET);
			return;
		}
	} else {
		if (connection->state == READING_HEAD && connection->in_length == 0) {
			connection->phase_tick = connection->lane->ticks;
		}
		connection->in_length += count;
	}
	if (connection->state != HANDLING && connection->state != STREAMING) {
		advance(connection);
	} else {
		await_bytes(connection);
	}
}

static void
on_readable(struct connection *connection)
{
	struct iovec room = next_room(connection);
	ssize_t got;

	if (room.iov_len == 0) { /* the peer sends ahead while a request is handled */
		loop_watch_set(connection->watch, 0);
		return;
	}
	got = transport_read(&connection->transport, room.iov_base, room.iov_len);
	if (got > 0) {
		take_bytes(connection, (size_t)got);
	} else if (got == 0) {
		peer_gone(connection);
	} else if (errno == EAGAIN || errno == EINTR) {
		await_bytes(connection);
	} else {
		on_broken(connection, errno);
	}
}

/* --- Replies in parts --- */

static void
await_stream(struct connection *connection)
{
	if (connection->stream.is_broken) { /* reading finds out, in the next turn, and ends the exchange */
		(void)shutdown(connection->transport.fd, SHUT_RDWR);
		loop_watch_set(connection->watch, LOOP_READ);
		loop_watch_wake(connection->watch);
	} else if (connection_has_backlog(connection) && !connection->stream.is_held) {
		unsigned events = LOOP_WRITE | (connection->is_incomplete ? LOOP_READ : 0);

		loop_watch_set(connection->watch, transport_events(&connection->transport, events));
	} else {
		await_bytes(connection);
	}
}

/* The socket takes more of a stream. May free the connection. */
static void
on_stream_event(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;

	if (!connection_stream_flush(connection)) {
		on_broken(connection, errno);
		return;
	}
	if (!connection_has_backlog(connection) && connection->stream.is_complete) {
		end_stream(connection);
		return;
	}
	await_stream(connection);
	if (!connection_has_backlog(connection) && exchange->drained != NULL) {
		exchange->drained(exchange);
	}
}

/* At the end of a turn in which a stream began: sends its head, unless that has gone with a part. May free the
 * connection. */
static void
on_release(void *argument)
{
	struct connection *connection = argument;

	if (connection->state != STREAMING || !connection->stream.is_held) {
		return;
	}
	if (connection_stream_flush(connection)) {
		await_stream(connection);
	} else {
		on_broken(connection, errno);
	}
}

void
exchange_stream_begin(struct exchange *exchange, int status, struct bytes fields, bool has_length)
{
	struct connection *connection = exchange->connection;

	connection->state = STREAMING;
	connection_stream_head(connection, status, fields, has_length);
	if (connection->stream.release == NULL) {
		connection->stream.release = loop_task_new(connection->lane->loop, on_release, connection);
	}
	loop_task_set(connection->stream.release);
	await_stream(connection);
}

bool
exchange_stream(struct exchange *exchange, struct bytes part)
{
	struct connection *connection = exchange->connection;
	bool more = true;

	if (part.length > 0 && exchange->head.method != HTTP1_HEAD) {
		more = connection_stream_part(connection, part);
		await_stream(connection);
	}
	return more;
}

void
exchange_stream_end(struct exchange *exchange, bool complete)
{
	struct connection *connection = exchange->connection;

	leave_body(connection);
	connection_stream_tail(connection, complete);
	if (connection_has_backlog(connection)) {
		await_stream(connection);
	} else {
		end_stream(connection);
	}
}

static void
on_event(void *argument, unsigned events)
{
	struct connection *connection = argument;

	if (connection->state == STREAMING && connection_has_backlog(connection) &&
	    !(connection->is_incomplete && (events & LOOP_READ) != 0)) {
		on_stream_event(connection);
		return;
	}
	if (connection->state == LINGERING) { /* LINGER_TOTAL ends it, however much the peer sends */
		throw_away(connection);
		return;
	}
	connection->active_tick = connection->lane->ticks;
	if (connection->state == WRITING) {
		loop_watch_set(connection->watch, LOOP_READ);
		advance(connection);
	} else { /* TLS may have waited for room to write before it could read */
		on_readable(connection);
	}
}

void
connection_new(struct server_lane *lane, int fd, const struct server_port *port)
{
	struct connection *connection = memory_new(sizeof(*connection));

	connection->lane = lane;
	transport_init(&connection->transport, fd, port->tls);
	connection->port = port;
	connection->active_tick = lane->ticks;
	connection->phase_tick = lane->ticks;
	connection->in_capacity = BUFFER_SIZE;
	connection->in = memory_new(BUFFER_SIZE);
	connection->parser = http1_new();
	connection->exchange.connection = connection;
	connection->exchange.lane = lane;
	connection->exchange.port = port;
	connection->exchange.options = lane->options;
	connection->exchange.send = connection_reply;
	arena_init(&connection->exchange.arena, ARENA_MAX);
	connection->exchange.text_max = TEXT_MAX;
	buf_init(&connection->exchange.text, TEXT_MAX);
	buf_init(&connection->stream.backlog, TEXT_MAX);
	TAILQ_INSERT_TAIL(&lane->connections, connection, lane_entry);
	connection->watch = loop_watch_new(lane->loop, fd, on_event, connection);
	loop_watch_set(connection->watch, LOOP_READ);
}

/* Bytes received into the body's block, or written of the reply. */
static size_t
phase_bytes(const struct connection *connection)
{
	if (connection->is_incomplete) {
		return connection->body.length;
	}
	switch (connection->state) {
	case READING_BODY:
	case READING_CHUNKS:
		return connection->body.length;
	case WRITING:
		return connection->written;
	default:
		return 0;
	}
}

/* Does a slow peer hold part of a scarce budget? While more than half of it is used, holders have to be faster. */
static bool
holds_scarce_memory(const struct connection *connection, unsigned phase)
{
	const struct budget *budget = connection->lane->budget;

	return connection->exchange.charged > 0 &&
	       atomic_load_explicit(&budget->used, memory_order_relaxed) > budget->limit / 2 &&
	       phase > SCARCE_LIMIT + phase_bytes(connection) / SCARCE_SLOWEST;
}

/* Does the peer send too slowly, or read its reply so? */
static bool
is_too_slow(const struct connection *connection, unsigned silent, unsigned phase)
{
	unsigned stall = connection->lane->stopping ? STOPPING_LIMIT : STALL_LIMIT;

	return silent > stall || phase > STALL_LIMIT + phase_bytes(connection) / SLOWEST ||
	       holds_scarce_memory(connection, phase);
}

void
connection_sweep(struct connection *connection)
{
	unsigned silent = connection->lane->ticks - connection->active_tick;
	unsigned phase = connection->lane->ticks - connection->phase_tick;
	unsigned stall = connection->lane->stopping ? STOPPING_LIMIT : STALL_LIMIT;

	switch (connection->state) {
	case HANDLING:
	case STREAMING:
		if (connection->is_incomplete && is_too_slow(connection, silent, phase)) {
			lose_body(connection, 408, LATE);
		} else if (connection->state == STREAMING && connection_has_backlog(connection) && silent > stall) {
			connection->close_after = true;
			peer_gone(connection);
		}
		return;
	case READING_HEAD:
		if (connection->in_length == 0) {
			if (silent > IDLE_LIMIT || (phase > STALL_LIMIT && transport_greets(&connection->transport))) {
				close_connection(connection);
			}
			return;
		}
		break;
	case LINGERING:
		if (silent > LINGER_LIMIT || phase > LINGER_TOTAL) {
			close_connection(connection);
		}
		return;
	default:
		break;
	}
	if (!is_too_slow(connection, silent, phase)) {
		return;
	}
	if (connection->state == WRITING) {
		close_connection(connection);
	} else {
		refuse(connection, 408, LATE);
	}
}

void
connection_finish(struct connection *connection)
{
	if (connection->state == READING_HEAD || connection->state == LINGERING) {
		close_connection(connection);
	} else {
		connection->close_after = true;
	}
}

struct connection *
connection_next(struct connection *connection)
{
	return TAILQ_NEXT(connection, lane_entry);
}
