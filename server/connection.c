#include "server/connection_internal.h"

#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BUFFER_SIZE ((size_t)16 * 1024)
#define HEAD_MAX ((size_t)64 * 1024)
#define ARENA_MAX ((size_t)1 << 30)
#define TEXT_MAX ((size_t)2 << 30)
#define TEXT_KEPT ((size_t)64 * 1024)
#define LATE "the request did not come to its end in time"

/* Seconds that a peer may be silent: between requests (IDLE), within a request or a reply (STALL). */
#define IDLE_LIMIT 600
#define STALL_LIMIT 60
#define STOPPING_LIMIT 5 /* in place of STALL_LIMIT while the server stops */
#define LINGER_LIMIT 5

/* A whole head must arrive within STALL_LIMIT; a body or a reply gets one second more per SLOWEST bytes moved. */
#define SLOWEST ((size_t)4096)
#define LINGER_TOTAL 30

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
	lane->incomplete_bodies -= connection->is_incomplete;
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
	connection->is_discarding = false;
	connection->discardable = connection->discarded = 0;
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

/* Called when the reply has been written. False: the connection has been freed. */
static bool
after_reply(struct connection *connection)
{
	connection_leave_body(connection);
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

	connection_leave_body(connection);
	connection->state = WRITING;
	connection->active_tick = connection->lane->ticks; /* the handler's time is not the peer's silence */
	connection->phase_tick = connection->lane->ticks;
	connection_begin_reply(connection);
	if (!connection->in_progress) {
		advance(connection);
	}
}

/* --- Reading --- */

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
			connection_refuse(connection, 431, "request header is too large");
			return true;
		}
		return false;
	case HTTP1_DONE:
		connection->head_length = used;
		connection_start_body(connection);
		return true;
	case HTTP1_UNSUPPORTED:
		connection_refuse(connection, 501, http1_reason(connection->parser));
		return true;
	case HTTP1_TOO_LARGE:
		connection_refuse(connection, 431, "request has too many header fields");
		return true;
	case HTTP1_MALFORMED:
		break;
	}
	connection_refuse(connection, 400, http1_reason(connection->parser));
	return true;
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
			more = connection_read_body(connection);
			break;
		case READING_CHUNKS:
			more = connection_read_chunks(connection);
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

/* Only what was announced buys its sender time. */
static void
note_discarded(struct connection *connection, size_t count)
{
	size_t left = connection->discardable - connection->discarded;

	if (left > 0) {
		connection->discarded += count < left ? count : left;
		connection->active_tick = connection->lane->ticks;
	}
}

static void
throw_away(struct connection *connection)
{
	uint8_t waste[16384];
	ssize_t got = recv(connection->transport.fd, waste, sizeof(waste), 0);

	if (got > 0) {
		note_discarded(connection, (size_t)got);
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

/* While the handler has the exchange. */
static void
await_more(struct connection *connection)
{
	if (connection->state == STREAMING) {
		await_stream(connection);
	} else {
		await_bytes(connection);
	}
}

/* More of a body that the handler has. May free the connection. */
static void
take_part(struct connection *connection, size_t count)
{
	if (connection_take_part(connection, count)) {
		await_more(connection);
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
			connection_refuse_body(connection, BODY_OVER_BUDGET);
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
		await_more(connection);
	} else {
		on_broken(connection, errno);
	}
}

/* --- Replies in parts --- */

/* Is the request read beside the reply? */
static bool
reads_on(const struct connection *connection)
{
	return connection->is_incomplete || connection->is_discarding;
}

static void
await_stream(struct connection *connection)
{
	if (connection->stream.is_broken) { /* reading finds out, in the next turn, and ends the exchange */
		(void)shutdown(connection->transport.fd, SHUT_RDWR);
		loop_watch_set(connection->watch, LOOP_READ);
		loop_watch_wake(connection->watch);
	} else if (connection_has_backlog(connection) && !connection->stream.is_held) {
		unsigned events = LOOP_WRITE | (reads_on(connection) ? LOOP_READ : 0);

		loop_watch_set(connection->watch, transport_events(&connection->transport, events));
	} else {
		await_bytes(connection);
	}
}

/* Throws away what a peer sends that may not read its reply before all is sent. May free the connection. */
static void
discard(struct connection *connection)
{
	uint8_t waste[16384];
	ssize_t got = transport_read(&connection->transport, waste, sizeof(waste));

	if (got < 0 && errno != EAGAIN && errno != EINTR) {
		on_broken(connection, errno);
		return;
	}
	if (got > 0) {
		note_discarded(connection, (size_t)got);
	}
	connection->is_discarding = got != 0;
	await_stream(connection);
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

	connection_leave_body(connection);
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

	if (connection->state == STREAMING && connection_has_backlog(connection)) {
		if (!reads_on(connection) ||
		    (events & LOOP_WRITE) != 0) { /* then there is room for some of the reply: that goes first */
			on_stream_event(connection);
			return;
		}
		if (connection->is_discarding) {
			discard(connection);
			return;
		}
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

/* Is some of a body that nobody needs still to come? Its sender may read only behind that. */
static bool
owes(const struct connection *connection)
{
	return connection->discarded < connection->discardable;
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
		if (connection->is_incomplete &&
		    (connection->state == STREAMING ? silent > stall || holds_scarce_memory(connection, phase)
						    : is_too_slow(connection, silent, phase))) {
			connection_lose_body(connection, 408, LATE);
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
		if (silent > (owes(connection) ? STALL_LIMIT : LINGER_LIMIT) ||
		    phase > LINGER_TOTAL + connection->discarded / SCARCE_SLOWEST) {
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
		connection_refuse(connection, 408, LATE);
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
