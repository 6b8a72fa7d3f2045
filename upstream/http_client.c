#include "upstream/http_client.h"

#include "base/memory.h"
#include "loop/transport.h"
#include "upstream/dial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#define HEAD_MAX ((size_t)64 * 1024)
#define READ_SIZE ((size_t)128 * 1024)
#define READS_AT_ONCE 4
#define IDLE_MAX 256 /* connections kept without a call */
#define IDLE_S 60
#define SWEEP_MS 1000

enum http_state {
	RESOLVING,
	CONNECTING,
	IDLE,
	WAITING_HEAD, /* the request may still be on its way */
	READING_BODY,
	PAUSED
};

struct http_connection {
	TAILQ_ENTRY(http_connection) entry; /* in client->idle or client->busy */
	struct http_client *client;
	struct http_call *call; /* NULL: idle, or cancelled within one of its functions */
	struct dial *dial;	/* while RESOLVING */
	struct loop_watch *watch;
	struct transport transport; /* valid from CONNECTING on */
	enum http_state state;
	bool is_reused;
	bool any_sent;
	bool any_received;
	bool in_callback;
	int failure; /* the number of the error that ends it; 0: none */
	size_t sent; /* of the request's head and body together */
	size_t total;
	unsigned active_tick;

	struct http1_parser *parser;
	struct buf head;
	size_t head_parsed;
	bool chunked;
	bool until_close;
	bool keep_alive;
	uint64_t left; /* of a body of known length */
};

struct http_client {
	const struct dial_options *options;
	struct loop *loop;
	struct loop_timer *sweep;
	TAILQ_HEAD(http_connections, http_connection) idle; /* the last one used first */
	struct http_connections busy;
	size_t idle_count;
	unsigned ticks;
	size_t losses;
	unsigned attempts;  /* of connecting: each takes the next address */
	uint8_t *in;	    /* READ_SIZE bytes that have just been read */
	struct buf content; /* of chunks */
};

static void on_event(void *argument, unsigned events);
static void begin(struct http_client *client, struct http_call *call, bool fresh);

/* --- Life --- */

static void
free_connection(struct http_connection *connection)
{
	http1_free(connection->parser);
	buf_fini(&connection->head);
	free(connection);
}

static void
close_connection(struct http_connection *connection)
{
	struct http_client *client = connection->client;

	if (connection->state == IDLE) {
		TAILQ_REMOVE(&client->idle, connection, entry);
		client->idle_count--;
	} else {
		TAILQ_REMOVE(&client->busy, connection, entry);
	}
	if (connection->dial != NULL) {
		dial_cancel(connection->dial);
	} else if (connection->watch != NULL) {
		loop_watch_free(connection->watch);
		transport_close(&connection->transport);
	}
	free_connection(connection);
}

/* Ends the connection and its call. */
static void
end(struct http_connection *connection, enum http_outcome outcome, const char *why)
{
	struct http_client *client = connection->client;
	struct http_call *call = connection->call;
	bool again = call != NULL && connection->is_reused && !connection->any_received &&
		     (call->repeatable || !connection->any_sent) && outcome != HTTP_CALL_TIMED_OUT;
	char text[256];

	client->losses += connection->is_reused && !connection->any_received && outcome != HTTP_CALL_DONE;
	(void)snprintf(text, sizeof(text), "%s", why == NULL ? "" : why); /* it may lie in the connection */
	if (call != NULL) {
		call->connection = NULL;
	}
	close_connection(connection);
	if (again) { /* a kept connection may end at any time (RFC 9112 section 9.5) */
		begin(client, call, true);
	} else if (call != NULL) {
		call->done(call, outcome, why == NULL ? NULL : text);
	}
}

static void
fail(struct http_connection *connection, const char *why)
{
	end(connection, connection->any_sent ? HTTP_CALL_BROKEN : HTTP_CALL_UNSENT, why);
}

/* The response is complete: keeps the connection if it can carry another call. */
static void
finish(struct http_connection *connection, bool leftover)
{
	struct http_client *client = connection->client;
	struct http_call *call = connection->call;

	if (!connection->keep_alive || leftover || connection->sent < connection->total ||
	    client->idle_count >= IDLE_MAX) {
		end(connection, HTTP_CALL_DONE, NULL);
		return;
	}
	TAILQ_REMOVE(&client->busy, connection, entry);
	connection->call = NULL;
	call->connection = NULL;
	connection->state = IDLE;
	connection->is_reused = true;
	connection->active_tick = client->ticks;
	buf_clear(&connection->head);
	TAILQ_INSERT_HEAD(&client->idle, connection, entry);
	client->idle_count++;
	loop_watch_set(connection->watch, transport_events(&connection->transport, LOOP_READ));
	call->done(call, HTTP_CALL_DONE, NULL);
}

/* --- Sending --- */

static const char *
failure_of(const struct http_connection *connection)
{
	bool is_tls = connection->failure == EPROTO && connection->transport.failure != NULL;

	return is_tls ? connection->transport.failure : strerror(connection->failure);
}

/* Where what is there of the request ends. */
static size_t
request_end(const struct http_connection *connection)
{
	size_t missing = connection->call->missing;

	return connection->total > missing ? connection->total - missing : 0;
}

/* Shortens the pieces to `room` bytes together. Returns how many are left. */
static int
clip(struct iovec *iov, int count, size_t room)
{
	int kept = 0;

	while (kept < count && room > 0) {
		iov[kept].iov_len = iov[kept].iov_len < room ? iov[kept].iov_len : room;
		room -= iov[kept++].iov_len;
	}
	return kept;
}

/* Sends what the socket takes. Returns 0, or the number of the error if nothing could be sent. */
static int
send_request(struct http_connection *connection)
{
	while (connection->sent < request_end(connection)) {
		struct iovec iov[TRANSPORT_PIECES];
		int count = transport_gather(connection->call->head, connection->call->body,
					     connection->call->body_count, connection->sent, iov);
		ssize_t put = transport_write(&connection->transport, iov,
					      clip(iov, count, request_end(connection) - connection->sent));

		if (put >= 0) {
			connection->sent += (size_t)put;
			connection->any_sent = true;
		} else if (errno == EAGAIN) {
			return 0;
		} else if (errno != EINTR && !connection->any_sent) {
			return errno;
		} else if (errno != EINTR) {
			/* The server may have answered before it closed its side (RFC 9112 section 9.6). */
			connection->total = connection->sent;
			connection->keep_alive = false;
			return 0;
		}
	}
	return 0;
}

static void
await(struct http_connection *connection)
{
	unsigned events = LOOP_READ;

	if (connection->sent < request_end(connection)) { /* a response may come before the request is complete */
		events = LOOP_READ | LOOP_WRITE;
	}
	events = transport_events(&connection->transport, events);
	loop_watch_set(connection->watch, events);
	if ((events & LOOP_READ) != 0 && transport_pending(&connection->transport)) {
		loop_watch_wake(connection->watch);
	}
}

/* Sends what is there and waits for more to do. The caller is not to be called back before the next turn. */
static void
send_and_await(struct http_connection *connection)
{
	connection->failure = send_request(connection);
	if (connection->failure == 0) {
		await(connection);
	} else {
		loop_watch_set(connection->watch, LOOP_READ);
		loop_watch_wake(connection->watch);
	}
}

static void
send_call(struct http_connection *connection)
{
	const struct http_call *call = connection->call;

	connection->state = WAITING_HEAD;
	connection->any_sent = false;
	connection->any_received = false;
	connection->head_parsed = 0;
	connection->sent = 0;
	connection->total = call->head.length;
	connection->keep_alive = true;
	connection->active_tick = connection->client->ticks;
	for (size_t i = 0; i < call->body_count; i++) {
		connection->total += call->body[i].length;
	}
	send_and_await(connection);
}

/* --- Receiving --- */

enum taken { TAKEN_MORE, TAKEN_PAUSED, TAKEN_GONE };

/* Gives a part of the body to the call. */
static enum taken
deliver(struct http_connection *connection, struct bytes part)
{
	struct http_call *call = connection->call;
	bool more = true;

	if (part.length > 0) {
		connection->in_callback = true;
		more = call->on_body(call, part);
		connection->in_callback = false;
	}
	if (connection->call == NULL) { /* cancelled meanwhile */
		close_connection(connection);
		return TAKEN_GONE;
	}
	return more ? TAKEN_MORE : TAKEN_PAUSED;
}

static enum taken
take_chunks(struct http_connection *connection, struct bytes input)
{
	struct buf *content = &connection->client->content;
	enum http1_progress progress;
	enum taken taken;
	size_t used;

	buf_clear(content);
	progress = http1_feed_chunks(connection->parser, input, content, &used);
	if (progress != HTTP1_MORE && progress != HTTP1_DONE) {
		fail(connection, "malformed chunked body");
		return TAKEN_GONE;
	}
	taken = deliver(connection, buf_bytes(content));
	if (taken == TAKEN_GONE || progress == HTTP1_MORE) {
		return taken;
	}
	finish(connection, used < input.length);
	return TAKEN_GONE;
}

static enum taken
take_body(struct http_connection *connection, struct bytes input)
{
	bool leftover = !connection->until_close && input.length > connection->left;
	enum taken taken;

	if (connection->chunked) {
		return input.length == 0 ? TAKEN_MORE : take_chunks(connection, input);
	}
	if (leftover) {
		input.length = (size_t)connection->left;
	}
	if (!connection->until_close) {
		connection->left -= input.length;
	}
	taken = deliver(connection, input);
	if (taken == TAKEN_GONE || connection->until_close || connection->left > 0) {
		return taken;
	}
	finish(connection, leftover);
	return TAKEN_GONE;
}

static enum taken
take_final_head(struct http_connection *connection, const struct http1_head *head, struct bytes rest)
{
	struct http_call *call = connection->call;

	connection->state = READING_BODY;
	connection->chunked = head->chunked;
	connection->until_close = head->until_close;
	/* A server may send a body where there is none; it must not be taken for the next response. */
	connection->keep_alive = connection->keep_alive && head->keep_alive && !call->bodiless && head->status != 204 &&
				 head->status != 304;
	connection->left = head->content_length;
	if (head->status >= 400 && !head->keep_alive && connection->sent < connection->total) {
		connection->total = connection->sent; /* it reads no more (RFC 9112 section 9.5) */
	}
	connection->in_callback = true;
	call->on_head(call, head);
	connection->in_callback = false;
	if (connection->call == NULL) {
		close_connection(connection);
		return TAKEN_GONE;
	}
	return take_body(connection, rest);
}

/* Adds to the head what was read. */
static enum taken
take_head(struct http_connection *connection, struct bytes input)
{
	struct buf *text = &connection->head;
	struct http1_head head;
	size_t used = 0;

	buf_append(text, input);
	while (text->length > connection->head_parsed) {
		enum http1_progress progress =
			http1_feed_response(connection->parser, buf_bytes(text), connection->head_parsed,
					    connection->call->bodiless, &head, &used);

		if (progress == HTTP1_MORE) {
			connection->head_parsed = text->length;
		} else if (progress != HTTP1_DONE) {
			fail(connection, bytes_starts_with(buf_bytes(text), "HTTP/")
						 ? http1_reason(connection->parser)
						 : "what answers there is no HTTP/1.1: is it a port of gRPC?");
			return TAKEN_GONE;
		} else if (head.status == 101) {
			fail(connection, "the server switches protocols, which nobody asked for");
			return TAKEN_GONE;
		} else if (head.status / 100 == 1) { /* interim responses (RFC 9110 section 15.2) */
			memmove(text->at, text->at + used, text->length - used);
			text->length -= used;
			connection->head_parsed = 0;
		} else {
			return take_final_head(connection, &head, bytes_skip(buf_bytes(text), used));
		}
	}
	if (text->length == HEAD_MAX || !buf_ok(text)) {
		fail(connection, "the response's head is too large");
		return TAKEN_GONE;
	}
	return TAKEN_MORE;
}

static void
on_end(struct http_connection *connection)
{
	if (connection->state == READING_BODY && connection->until_close) {
		end(connection, HTTP_CALL_DONE, NULL);
	} else {
		fail(connection, connection->any_received ? "the server closed the connection within its response"
							  : "the server closed the connection without a response");
	}
}

/* False: the connection is gone, or waits. */
static bool
read_some(struct http_connection *connection)
{
	struct http_client *client = connection->client;
	size_t room = connection->state == WAITING_HEAD ? HEAD_MAX - connection->head.length : READ_SIZE;
	ssize_t got = transport_read(&connection->transport, client->in, room);
	struct bytes input = bytes_make(client->in, got < 0 ? 0 : (size_t)got);
	enum taken taken;

	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		await(connection);
		return false;
	}
	if (got <= 0) {
		if (got < 0) {
			connection->failure = errno;
			fail(connection, failure_of(connection));
		} else {
			on_end(connection);
		}
		return false;
	}
	connection->active_tick = client->ticks;
	connection->any_received = true;
	taken = connection->state == WAITING_HEAD ? take_head(connection, input) : take_body(connection, input);
	if (taken == TAKEN_PAUSED) {
		connection->state = PAUSED;
		loop_watch_set(connection->watch, 0);
	}
	if (taken == TAKEN_MORE && (size_t)got < room) {
		await(connection);
		return false;
	}
	return taken == TAKEN_MORE;
}

/* Has the server ended a kept connection, or sent what nobody asked for, which no event has told yet? */
static bool
has_ended(struct http_connection *connection)
{
	uint8_t byte;
	ssize_t got = transport_read(&connection->transport, &byte, 1);

	return got >= 0 || (errno != EAGAIN && errno != EINTR);
}

/* The server closed an idle connection, or sends what nobody asked for; or TLS has something to say. */
static void
on_idle_event(struct http_connection *connection)
{
	if (has_ended(connection)) {
		connection->client->losses++;
		close_connection(connection);
	}
}

static void
on_connected(struct http_connection *connection)
{
	int failure = dial_outcome(connection->transport.fd);

	if (failure != 0) {
		fail(connection, strerror(failure));
	} else {
		send_call(connection);
	}
}

static void
on_event(void *argument, unsigned events)
{
	struct http_connection *connection = argument;

	(void)events;
	if (connection->state == IDLE) {
		on_idle_event(connection);
		return;
	}
	if (connection->state == CONNECTING) {
		on_connected(connection);
		return;
	}
	if (connection->failure == 0) {
		connection->failure = send_request(connection);
	}
	if (connection->failure != 0) {
		fail(connection, failure_of(connection));
		return;
	}
	for (int i = 0; i < READS_AT_ONCE; i++) {
		if (!read_some(connection)) {
			return;
		}
	}
	await(connection);
}

/* --- Connecting --- */

static void
on_dialled(void *argument, int fd, SSL *ssl, const char *failure)
{
	struct http_connection *connection = argument;

	connection->dial = NULL;
	if (failure != NULL) {
		fail(connection, failure);
		return;
	}
	connection->state = CONNECTING;
	transport_init_client(&connection->transport, fd, ssl);
	connection->watch = loop_watch_new(connection->client->loop, fd, on_event, connection);
	loop_watch_set(connection->watch, LOOP_WRITE);
}

static void
open_connection(struct http_client *client, struct http_call *call)
{
	struct http_connection *connection = memory_new(sizeof(*connection));

	connection->client = client;
	connection->call = call;
	call->connection = connection;
	connection->parser = http1_new();
	buf_init(&connection->head, HEAD_MAX);
	connection->active_tick = client->ticks;
	TAILQ_INSERT_TAIL(&client->busy, connection, entry);
	connection->dial = dial_start(client->loop, client->options, client->attempts++, on_dialled, connection);
}

static void
begin(struct http_client *client, struct http_call *call, bool fresh)
{
	struct http_connection *connection = TAILQ_FIRST(&client->idle);

	while (connection != NULL && !fresh && has_ended(connection)) {
		client->losses++;
		close_connection(connection);
		connection = TAILQ_FIRST(&client->idle);
	}
	if (connection == NULL || fresh) {
		open_connection(client, call);
		return;
	}
	TAILQ_REMOVE(&client->idle, connection, entry);
	client->idle_count--;
	TAILQ_INSERT_TAIL(&client->busy, connection, entry);
	connection->call = call;
	call->connection = connection;
	send_call(connection);
}

/* --- The client --- */

int
http_outcome_status(enum http_outcome outcome)
{
	return outcome == HTTP_CALL_BROKEN ? 502 : outcome == HTTP_CALL_TIMED_OUT ? 504 : 503;
}

size_t
http_client_losses(const struct http_client *client)
{
	return client->losses;
}

void
http_client_start(struct http_client *client, struct http_call *call)
{
	begin(client, call, false);
}

void
http_call_cancel(struct http_call *call)
{
	struct http_connection *connection = call->connection;

	call->connection = NULL;
	connection->call = NULL;
	if (!connection->in_callback) {
		close_connection(connection);
	}
}

void
http_call_resume(struct http_call *call)
{
	struct http_connection *connection = call->connection;

	if (connection != NULL && connection->state == PAUSED) {
		connection->state = READING_BODY;
		connection->active_tick = connection->client->ticks;
		await(connection);
	}
}

void
http_call_more(struct http_call *call, size_t count)
{
	struct http_connection *connection = call->connection;

	call->missing -= count;
	if (connection == NULL || (connection->state != WAITING_HEAD && connection->state != READING_BODY) ||
	    connection->failure != 0) {
		return;
	}
	send_and_await(connection);
}

static bool
is_opening(const struct http_connection *connection)
{
	return connection->state == RESOLVING || connection->state == CONNECTING ||
	       transport_greets(&connection->transport);
}

/* Has the time for what the connection does passed? */
static bool
is_overdue(const struct http_connection *connection)
{
	const struct http_client *client = connection->client;
	unsigned silent = client->ticks - connection->active_tick;

	if (connection->call == NULL || connection->state == PAUSED) {
		return false;
	}
	if (is_opening(connection)) {
		return silent > client->options->connect_timeout_s;
	}
	return connection->call->timeout_s > 0 && silent > connection->call->timeout_s;
}

/* Starts over after each, since `done` may change the list. */
static void
end_overdue(struct http_client *client)
{
	struct http_connection *connection = TAILQ_FIRST(&client->busy);

	while (connection != NULL) {
		if (!is_overdue(connection)) {
			connection = TAILQ_NEXT(connection, entry);
			continue;
		}
		if (is_opening(connection)) {
			end(connection, HTTP_CALL_UNSENT, "no connection within the time for it");
		} else {
			end(connection, HTTP_CALL_TIMED_OUT, "the server is silent");
		}
		connection = TAILQ_FIRST(&client->busy);
	}
}

static void
on_sweep(void *argument)
{
	struct http_client *client = argument;
	struct http_connection *connection = TAILQ_LAST(&client->idle, http_connections);

	client->ticks++;
	while (connection != NULL && client->ticks - connection->active_tick > IDLE_S) {
		close_connection(connection);
		connection = TAILQ_LAST(&client->idle, http_connections);
	}
	end_overdue(client);
	loop_timer_set(client->sweep, SWEEP_MS);
}

struct http_client *
http_client_new(struct loop *loop, const struct dial_options *options)
{
	struct http_client *client = memory_new(sizeof(*client));

	client->loop = loop;
	client->options = options;
	TAILQ_INIT(&client->idle);
	TAILQ_INIT(&client->busy);
	client->in = memory_room(READ_SIZE);
	buf_init(&client->content, READ_SIZE + HEAD_MAX);
	client->sweep = loop_timer_new(loop, on_sweep, client);
	loop_timer_set(client->sweep, SWEEP_MS);
	return client;
}

void
http_client_free(struct http_client *client)
{
	loop_timer_free(client->sweep);
	while (!TAILQ_EMPTY(&client->idle)) {
		close_connection(TAILQ_FIRST(&client->idle));
	}
	free(client->in);
	buf_fini(&client->content);
	free(client);
}
