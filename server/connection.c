#include "server/connection.h"

#include "base/memory.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BUFFER_SIZE ((size_t)16 * 1024)
#define HEAD_MAX ((size_t)64 * 1024)
#define CHUNK_ROOM ((size_t)8 * 1024)
#define ARENA_MAX ((size_t)1 << 30)
#define TEXT_MAX ((size_t)2 << 30)
#define TEXT_KEPT ((size_t)64 * 1024)
#define TENSOR_ALIGNMENT 64
#define IOV_AT_ONCE 64
#define SEND_TOGETHER 2048

/* Seconds without a byte: between requests, inside one, and while the peer does not take its reply. */
#define IDLE_LIMIT 600
#define STALL_LIMIT 60
#define LINGER_LIMIT 5

enum connection_state {
	READING_HEAD,
	READING_BODY, /* of known length */
	READING_CHUNKS,
	HANDLING, /* the handler has it */
	WRITING,
	LINGERING, /* answered early: what the peer still sends is thrown away, so that it reads the answer */
};

struct connection {
	TAILQ_ENTRY(connection) lane_entry;
	struct server_lane *lane;
	struct loop_watch *watch;
	exchange_handler (*route)(struct exchange *exchange);
	int fd;
	enum connection_state state;
	bool in_progress; /* inside `advance`: a reply is written there */
	bool close_after;
	bool linger_after;
	bool peer_done; /* the peer will send no more */
	unsigned active_tick;

	uint8_t *in; /* the head of the message from in[0], what follows behind it */
	size_t in_capacity;
	size_t in_length;
	size_t in_parsed; /* of an unfinished head */
	size_t head_length;
	struct http1_parser *parser;

	size_t body_got; /* of READING_BODY into a block */
	struct buf chunks;

	struct bytes head_out;
	char head_text[512];
	size_t written; /* of head and pieces together */
	size_t total;

	struct exchange exchange;
};

static void advance(struct connection *connection);

/* --- Life --- */

static void
close_connection(struct connection *connection)
{
	struct server_lane *lane = connection->lane;

	TAILQ_REMOVE(&lane->connections, connection, lane_entry);
	loop_watch_free(connection->watch);
	(void)close(connection->fd);
	blob_unref(connection->exchange.held);
	blob_unref(connection->exchange.body_block);
	arena_fini(&connection->exchange.arena);
	buf_fini(&connection->exchange.text);
	buf_fini(&connection->chunks);
	http1_free(connection->parser);
	free(connection->in);
	free(connection);
	if (lane->stopping && TAILQ_EMPTY(&lane->connections)) {
		lane->stopped(lane->stopped_argument);
	}
}

/* Bytes of the buffer that belong to the current message. */
static size_t
message_length(const struct connection *connection)
{
	const struct exchange *exchange = &connection->exchange;

	return connection->head_length + (exchange->body_block == NULL ? exchange->body.length : 0);
}

/* Ready for the next request; what was read beyond this one moves to the front. */
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
	connection->state = READING_HEAD;
}

/* --- Writing --- */

static const char *
reason_phrase(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 504:
		return "Gateway Timeout";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	default:
		return "Internal Server Error";
	}
}

static void
write_head(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;
	struct buf head = {.at = (uint8_t *)connection->head_text,
			   .capacity = sizeof(connection->head_text),
			   .maximum = sizeof(connection->head_text)};
	size_t length = 0;

	for (size_t i = 0; i < exchange->piece_count; i++) {
		length += exchange->pieces[i].length;
	}
	buf_text(&head, "HTTP/1.1 ");
	buf_unsigned(&head, (uint64_t)exchange->status);
	buf_byte(&head, ' ');
	buf_text(&head, reason_phrase(exchange->status));
	buf_text(&head, "\r\nContent-Type: ");
	buf_text(&head, exchange->content_type);
	buf_text(&head, "\r\n");
	buf_append(&head, exchange->extra_headers);
	if (connection->close_after) {
		buf_text(&head, "Connection: close\r\n");
	} else if (exchange->head.version_1_0) {
		buf_text(&head, "Connection: keep-alive\r\n");
	}
	buf_text(&head, "Content-Length: ");
	buf_unsigned(&head, length);
	buf_text(&head, "\r\n\r\n");
	assert(buf_ok(&head));			   /* every part of it is ours and short */
	if (exchange->head.method == HTTP1_HEAD) { /* RFC 9110 section 9.3.2: the length, not the body */
		exchange->piece_count = 0;
		length = 0;
	}
	connection->head_out = buf_bytes(&head);
	connection->written = 0;
	connection->total = head.length + length;
}

/* What is still to be written, IOV_AT_ONCE pieces of it. */
static int
gather(const struct connection *connection, struct iovec *iov)
{
	const struct exchange *exchange = &connection->exchange;
	size_t skip = connection->written;
	int count = 0;

	for (size_t i = 0; i <= exchange->piece_count && count < IOV_AT_ONCE; i++) {
		struct bytes piece = i == 0 ? connection->head_out : exchange->pieces[i - 1];

		if (skip >= piece.length) {
			skip -= piece.length;
			continue;
		}
		piece = bytes_skip(piece, skip);
		skip = 0;
		iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)piece.at, .iov_len = piece.length};
	}
	return count;
}

/* Small replies go out in one piece, which costs less than telling the kernel of several. */
static ssize_t
write_some(const struct connection *connection)
{
	struct iovec iov[IOV_AT_ONCE];
	int count = gather(connection, iov);
	uint8_t together[SEND_TOGETHER];
	size_t length = 0;

	if (connection->total - connection->written > sizeof(together)) {
		return writev(connection->fd, iov, count);
	}
	for (int i = 0; i < count; i++) {
		memcpy(together + length, iov[i].iov_base, iov[i].iov_len);
		length += iov[i].iov_len;
	}
	return send(connection->fd, together, length, MSG_NOSIGNAL);
}

/* False: the connection is gone. */
static bool
write_reply(struct connection *connection)
{
	while (connection->written < connection->total) {
		ssize_t put = write_some(connection);

		if (put < 0 && errno == EINTR) {
			continue;
		}
		if (put < 0 && errno == EAGAIN) {
			loop_watch_set(connection->watch, LOOP_WRITE);
			return true;
		}
		if (put < 0) {
			close_connection(connection);
			return false;
		}
		connection->written += (size_t)put;
	}
	return true;
}

static void
start_lingering(struct connection *connection)
{
	(void)shutdown(connection->fd, SHUT_WR);
	connection->state = LINGERING;
	connection->active_tick = connection->lane->ticks;
	loop_watch_set(connection->watch, LOOP_READ);
}

/* The reply is out. False: the connection is gone. */
static bool
after_reply(struct connection *connection)
{
	if (connection->linger_after && !connection->peer_done) {
		start_lingering(connection);
		return true;
	}
	if (connection->close_after || connection->peer_done) {
		/* A peer that has sent requests and then closed its side still gets the answers to all of them. */
		if (connection->close_after || connection->in_length == message_length(connection)) {
			close_connection(connection);
			return false;
		}
	}
	next_request(connection);
	return true;
}

void
connection_reply(struct connection *connection)
{
	connection->state = WRITING;
	connection->active_tick = connection->lane->ticks; /* the peer was not silent while the handler worked */
	write_head(connection);
	if (!connection->in_progress) {
		advance(connection);
	}
}

/* --- Reading --- */

/* An answer to something that never became a request, or that must not be read to its end. */
static void
refuse(struct connection *connection, int http_status, const char *text)
{
	connection->close_after = true;
	connection->linger_after = true;
	reply_http_error(&connection->exchange, http_status, text);
}

static void
call_handler(struct connection *connection)
{
	connection->state = HANDLING;
	connection->route (&connection->exchange)(&connection->exchange);
}

static bool
expects_continue(const struct http1_request *head)
{
	return bytes_equal_nocase(http1_header(head, "expect"), "100-continue");
}

static void
send_continue(struct connection *connection)
{
	static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";

	/* It fits into an empty socket buffer; if it does not get out, the client sends the body all the same. */
	ssize_t put = write(connection->fd, interim, sizeof(interim) - 1);

	(void)put;
}

/* 0 where there is none; what is wrong with it is the handler's to say. */
static uint64_t
inference_header_length(const struct http1_request *head)
{
	uint64_t number;

	return http1_number(http1_header(head, "inference-header-content-length"), &number) ? number : 0;
}

static struct bytes
moved(struct bytes view, const uint8_t *from, const uint8_t *to)
{
	return bytes_make(to + (view.at - from), view.length);
}

/* Room behind the head for chunks to be read; the views into the head follow when the buffer moves. */
static void
make_chunk_room(struct connection *connection)
{
	struct http1_request *head = &connection->exchange.head;
	const uint8_t *old = connection->in;
	uint8_t *new;

	if (connection->in_capacity - connection->in_length >= CHUNK_ROOM) {
		return;
	}
	new = memory_new(connection->in_length + CHUNK_ROOM);
	memcpy(new, old, connection->in_length);
	head->path = moved(head->path, old, new);
	for (size_t i = 0; i < head->header_count; i++) {
		head->headers[i].name = moved(head->headers[i].name, old, new);
		head->headers[i].value = moved(head->headers[i].value, old, new);
	}
	free(connection->in);
	connection->in = new;
	connection->in_capacity = connection->in_length + CHUNK_ROOM;
}

/* A block for a body that does not fit into the buffer, with what has come of it already. */
static bool
start_block(struct connection *connection, uint64_t length)
{
	struct exchange *exchange = &connection->exchange;
	size_t json = (size_t)(inference_header_length(&exchange->head) % TENSOR_ALIGNMENT);
	size_t lead = (TENSOR_ALIGNMENT - json) % TENSOR_ALIGNMENT;
	size_t there = connection->in_length - connection->head_length;

	exchange->body_block = length > PTRDIFF_MAX ? NULL : blob_new(lead + (size_t)length);
	if (exchange->body_block == NULL) {
		return false;
	}
	exchange->body = bytes_make(exchange->body_block->data + lead, (size_t)length);
	memcpy(exchange->body_block->data + lead, connection->in + connection->head_length, there);
	connection->in_length = connection->head_length;
	connection->body_got = there;
	return true;
}

/* Too large to be taken at all? JSON and raw bodies have a limit; tensors behind a JSON header have none. */
static bool
too_large(struct connection *connection, uint64_t length)
{
	const struct exchange *exchange = &connection->exchange;
	uint64_t json = inference_header_length(&exchange->head);
	uint64_t limited = json == 0 || json > length ? length : json;
	char text[256];

	if (limited <= exchange->options->max_input_bytes) {
		return false;
	}
	(void)snprintf(text, sizeof(text),
		       "request JSON size of %" PRIu64
		       " bytes exceeds the maximum allowed input size of %zu bytes. Use "
		       "--http-max-input-size to increase the limit.",
		       limited, exchange->options->max_input_bytes);
	refuse(connection, 400, text);
	return true;
}

static void
start_body(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;
	uint64_t length = exchange->head.content_length;
	size_t there = connection->in_length - connection->head_length;

	connection->close_after = !exchange->head.keep_alive || connection->lane->stopping;
	if (exchange->head.chunked) {
		buf_init(&connection->chunks, SIZE_MAX / 2);
		make_chunk_room(connection);
		connection->state = READING_CHUNKS;
	} else if (too_large(connection, length)) {
		return;
	} else if (length <= connection->in_capacity - connection->head_length) {
		exchange->body = bytes_make(connection->in + connection->head_length, (size_t)length);
		connection->state = READING_BODY;
	} else if (start_block(connection, length)) {
		connection->state = READING_BODY;
	} else {
		refuse(connection, 503, "no memory for a request body of this size");
		return;
	}
	if (there < length || exchange->head.chunked) {
		if (expects_continue(&exchange->head)) {
			send_continue(connection);
		}
	}
}

/* True: something changed, go on; false: more bytes are needed. */
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
	size_t got =
		exchange->body_block != NULL ? connection->body_got : connection->in_length - connection->head_length;

	if (got < exchange->body.length) {
		return false;
	}
	call_handler(connection);
	return true;
}

/* The content is gathered in a block of its own; what follows the last chunk moves up behind the head. */
static bool
read_chunks(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;
	struct bytes input =
		bytes_make(connection->in + connection->head_length, connection->in_length - connection->head_length);
	enum http1_progress progress;
	size_t used = 0;

	if (input.length == 0) {
		return false;
	}
	progress = http1_feed_chunks(connection->parser, input, &connection->chunks, &used);
	memmove(connection->in + connection->head_length, connection->in + connection->head_length + used,
		input.length - used);
	connection->in_length -= used;
	if (progress == HTTP1_MORE && !too_large(connection, connection->chunks.length)) {
		return false;
	}
	if (connection->state != READING_CHUNKS) {
		return true;
	}
	if (progress == HTTP1_DONE) {
		exchange->body_block = blob_copy(buf_bytes(&connection->chunks));
	}
	buf_fini(&connection->chunks);
	if (progress != HTTP1_DONE) {
		refuse(connection, 400, http1_reason(connection->parser));
	} else if (exchange->body_block == NULL) {
		refuse(connection, 503, "no memory for a request body of this size");
	} else if (!too_large(connection, exchange->body_block->length)) {
		exchange->body = blob_bytes(exchange->body_block);
		call_handler(connection);
	}
	return true;
}

/* As far as what has been read allows. The connection may be gone afterwards. */
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
		case LINGERING:
			more = false;
			break;
		}
	}
	connection->in_progress = false;
	if (connection->state == READING_HEAD || connection->state == READING_BODY ||
	    connection->state == READING_CHUNKS) {
		if (connection->peer_done) {
			close_connection(connection);
			return;
		}
		loop_watch_set(connection->watch, LOOP_READ);
	}
}

/* Where the next bytes from the socket go. Length 0: nowhere for now. */
static struct iovec
next_room(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;

	if (connection->state == READING_BODY && exchange->body_block != NULL) {
		return (struct iovec){.iov_base = (void *)(uintptr_t)(exchange->body.at + connection->body_got),
				      .iov_len = exchange->body.length - connection->body_got};
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
	ssize_t got = read(connection->fd, waste, sizeof(waste));

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
		close_connection(connection);
	}
}

/* The connection may be gone afterwards. */
static void
peer_gone(struct connection *connection)
{
	struct exchange *exchange = &connection->exchange;

	connection->peer_done = true;
	loop_watch_set(connection->watch, 0);
	if (connection->state != HANDLING) {
		advance(connection);
	} else if (exchange->gone != NULL) {
		exchange->gone(exchange);
	}
}

static void
on_readable(struct connection *connection)
{
	struct iovec room = next_room(connection);
	ssize_t got;

	if (room.iov_len == 0) { /* a busy connection whose peer sends ahead */
		loop_watch_set(connection->watch, 0);
		return;
	}
	got = recv(connection->fd, room.iov_base, room.iov_len, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (got < 0) {
		if (connection->state == HANDLING) { /* the handler still points here */
			connection->close_after = true;
			peer_gone(connection);
		} else {
			close_connection(connection);
		}
		return;
	}
	if (got == 0) {
		peer_gone(connection);
		return;
	}
	if (connection->state == READING_BODY && connection->exchange.body_block != NULL) {
		connection->body_got += (size_t)got;
	} else {
		connection->in_length += (size_t)got;
	}
	if (connection->state != HANDLING) {
		advance(connection);
	}
}

static void
on_event(void *argument, unsigned events)
{
	struct connection *connection = argument;

	if (connection->state == LINGERING) { /* a limit of its own, however much is sent */
		throw_away(connection);
		return;
	}
	connection->active_tick = connection->lane->ticks;
	if (connection->state == WRITING) {
		loop_watch_set(connection->watch, LOOP_READ);
		advance(connection);
	} else if ((events & LOOP_READ) != 0) {
		on_readable(connection);
	}
}

void
connection_new(struct server_lane *lane, int fd, exchange_handler (*route)(struct exchange *exchange))
{
	struct connection *connection = memory_new(sizeof(*connection));

	connection->lane = lane;
	connection->fd = fd;
	connection->route = route;
	connection->active_tick = lane->ticks;
	connection->in_capacity = BUFFER_SIZE;
	connection->in = memory_new(BUFFER_SIZE);
	connection->parser = http1_new();
	connection->exchange.connection = connection;
	connection->exchange.lane = lane;
	connection->exchange.options = server_options(lane->server);
	arena_init(&connection->exchange.arena, ARENA_MAX);
	buf_init(&connection->exchange.text, TEXT_MAX);
	TAILQ_INSERT_TAIL(&lane->connections, connection, lane_entry);
	connection->watch = loop_watch_new(lane->loop, fd, on_event, connection);
	loop_watch_set(connection->watch, LOOP_READ);
}

void
connection_sweep(struct connection *connection)
{
	unsigned silent = connection->lane->ticks - connection->active_tick;
	bool between = connection->state == READING_HEAD && connection->in_length == 0;
	unsigned limit = connection->state == LINGERING ? LINGER_LIMIT : between ? IDLE_LIMIT : STALL_LIMIT;

	if (connection->state != HANDLING && silent > limit) {
		close_connection(connection);
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
