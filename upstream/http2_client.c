#include "upstream/http2_client.h"

#include "base/memory.h"
#include "loop/transport.h"
#include "upstream/dial.h"
#include "upstream/http2_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define READ_SIZE ((size_t)64 * 1024)
#define READS_AT_ONCE 4
#define NO_HTTP2 "what answers there is no HTTP/2: is it a port of HTTP, and not of gRPC?"
#define WRITE_SIZE ((size_t)64 * 1024) /* then it is to be written; a frame is shorter */
#define SWEEP_MS 1000
#define IDLE_S 60
#define STREAM_WINDOW ((int32_t)1 << 20)
#define CONNECTION_WINDOW ((int32_t)16 << 20)

static void begin(struct http2_client *client, struct http2_call *call);

/* --- Life --- */

static void
close_connection(struct http2_connection *connection)
{
	TAILQ_REMOVE(&connection->client->connections, connection, entry);
	connection->client->connection_count--;
	if (connection->dial != NULL) {
		dial_cancel(connection->dial);
	} else if (connection->watch != NULL) {
		loop_watch_free(connection->watch);
		transport_close(&connection->transport);
	}
	nghttp2_session_del(connection->session); /* calls no callback */
	buf_fini(&connection->out);
	free(connection);
}

/* Ends the connection, and its calls or their first try. */
static void
end(struct http2_connection *connection, const char *why)
{
	struct http2_call *call;
	char text[256];

	connection->is_over = connection->is_ending = true; /* gets no calls that these start */
	http2_connection_count_loss(connection);
	(void)snprintf(text, sizeof(text), "%s", why);
	while ((call = TAILQ_FIRST(&connection->calls)) != NULL) {
		http2_call_fail(call,
				!connection->is_greeted ? HTTP2_UNREACHED
				: call->is_sent		? HTTP2_BROKEN
							: HTTP2_UNPROCESSED,
				text);
	}
	if (!connection->is_greeted) {
		http2_client_probed(connection->client, text);
	}
	close_connection(connection);
}

/* --- Writing --- */

static bool
fill(struct http2_connection *connection)
{
	const uint8_t *data;
	ssize_t length = 0;

	connection->client->is_busy = true;
	while (connection->out.length < WRITE_SIZE &&
	       (length = nghttp2_session_mem_send(connection->session, &data)) > 0) {
		buf_append(&connection->out, bytes_make(data, (size_t)length));
	}
	connection->client->is_busy = false;
	return length >= 0 && buf_ok(&connection->out);
}

/* Writes what the socket takes. False: the connection has failed. */
static bool
write_all(struct http2_connection *connection)
{
	for (;;) {
		struct bytes left = bytes_skip(buf_bytes(&connection->out), connection->written);
		ssize_t put;

		if (left.length == 0) {
			buf_clear(&connection->out);
			connection->written = 0;
			if (!fill(connection)) {
				return false;
			}
			left = buf_bytes(&connection->out);
		}
		if (left.length == 0) {
			return true;
		}
		put = transport_send(&connection->transport, left.at, left.length);
		if (put >= 0) {
			connection->written += (size_t)put;
		} else if (errno == EAGAIN) {
			return true;
		} else if (errno != EINTR) {
			connection->failure = errno;
			return false;
		}
	}
}

static const char *
failure_of(const struct http2_connection *connection)
{
	if (connection->failure == EPROTO && connection->transport.failure != NULL) {
		return connection->transport.failure;
	}
	return connection->failure == 0 ? "no memory" : strerror(connection->failure);
}

static void
await(struct http2_connection *connection)
{
	unsigned wanted = connection->written < connection->out.length ? LOOP_READ | LOOP_WRITE : LOOP_READ;
	unsigned events = transport_events(&connection->transport, wanted);

	loop_watch_set(connection->watch, events);
	if ((events & LOOP_READ) != 0 && transport_pending(&connection->transport)) {
		loop_watch_wake(connection->watch);
	}
}

/* Reads what has come. Returns false if the connection has ended. */
static bool receive(struct http2_connection *connection);

static void
flush(struct http2_connection *connection)
{
	connection->is_dirty = false;
	if (connection->watch == NULL || connection->is_connecting) {
		return;
	}
	if (!transport_greets(&connection->transport) && !write_all(connection)) {
		const char *why = failure_of(connection);

		if (receive(connection)) { /* responses may have come before, or GOAWAY */
			end(connection, why);
		}
	} else if (nghttp2_session_want_read(connection->session) == 0 &&
		   nghttp2_session_want_write(connection->session) == 0) {
		end(connection, connection->is_greeted ? "the server has ended the connection" : NO_HTTP2);
	} else {
		await(connection);
	}
}

/* Sends calls again; then all that is to be sent. Each flush may end connections: starts over after each. */
static void
on_flush(void *argument)
{
	struct http2_client *client = argument;
	struct http2_connection *connection;

	while (!TAILQ_EMPTY(&client->again)) {
		struct http2_call *call = TAILQ_FIRST(&client->again);

		TAILQ_REMOVE(&client->again, call, entry);
		begin(client, call);
	}
	connection = TAILQ_FIRST(&client->connections);
	while (connection != NULL) {
		if (connection->is_dirty) {
			flush(connection);
			connection = TAILQ_FIRST(&client->connections);
		} else {
			connection = TAILQ_NEXT(connection, entry);
		}
	}
}

/* --- Reading --- */

static bool
receive(struct http2_connection *connection)
{
	struct http2_client *client = connection->client;
	size_t total = 0;
	ssize_t got;

	do {
		ssize_t taken;

		got = transport_read(&connection->transport, client->in, READ_SIZE);
		if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
			return true;
		}
		if (got <= 0) {
			connection->failure = got < 0 ? errno : 0;
			end(connection, got < 0 ? failure_of(connection) : "the server closed the connection");
			return false;
		}
		connection->client->is_busy = true;
		taken = nghttp2_session_mem_recv(connection->session, client->in, (size_t)got);
		connection->client->is_busy = false;
		if (taken != got) {
			end(connection, connection->is_greeted ? "malformed HTTP/2" : NO_HTTP2);
			return false;
		}
		total += (size_t)got;
	} while ((size_t)got == READ_SIZE && total < READS_AT_ONCE * READ_SIZE);
	return true;
}

static void
on_event(void *argument, unsigned events)
{
	struct http2_connection *connection = argument;

	(void)events;
	if (connection->is_connecting) {
		int failure = dial_outcome(connection->transport.fd);

		if (failure != 0) {
			end(connection, strerror(failure));
			return;
		}
		connection->is_connecting = false;
	}
	http2_connection_touch(connection); /* the end of this turn sends, and sets what is waited for */
	(void)receive(connection);
}

/* --- Connecting --- */

static void
on_dialled(void *argument, int fd, SSL *ssl, const char *failure)
{
	struct http2_connection *connection = argument;

	connection->dial = NULL;
	if (failure != NULL) {
		end(connection, failure);
		return;
	}
	connection->is_connecting = true;
	transport_init_client(&connection->transport, fd, ssl);
	connection->watch = loop_watch_new(connection->client->loop, fd, on_event, connection);
	loop_watch_set(connection->watch, LOOP_WRITE);
}

static void
greet(struct http2_connection *connection)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP2_FIELDS_MAX},
	};

	(void)nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings,
				      sizeof(settings) / sizeof(*settings));
	(void)nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
}

/* Opens the connection that the next calls go to. */
static struct http2_connection *
open_connection(struct http2_client *client)
{
	struct http2_connection *connection = memory_new(sizeof(*connection));

	memory_check(nghttp2_session_client_new2(&connection->session, client->callbacks, connection,
						 client->session_options) == 0);
	connection->client = client;
	connection->opened_tick = client->ticks;
	TAILQ_INIT(&connection->calls);
	buf_init(&connection->out, 2 * WRITE_SIZE);
	TAILQ_INSERT_TAIL(&client->connections, connection, entry);
	client->connection_count++;
	greet(connection);
	connection->dial = dial_start(client->loop, client->options, client->attempts++, on_dialled, connection);
	return connection;
}

/* --- Calls --- */

static bool
takes_calls(const struct http2_connection *connection)
{
	nghttp2_session *session = connection->session;
	uint32_t most = nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	return !connection->is_over && nghttp2_session_check_request_allowed(session) != 0 &&
	       (!connection->is_greeted || connection->call_count < most);
}

/* Has the server ended an idle connection, which no event has told yet? Then it ends here, too. */
static void
look_at_idle(struct http2_connection *connection)
{
	if (connection->watch != NULL && !connection->is_connecting && !connection->client->is_busy &&
	    !connection->is_ending && connection->call_count == 0) {
		http2_connection_touch(connection);
		(void)receive(connection);
	}
}

/* Where the call is to wait in nghttp2 until the server takes more. NULL: all connections are ending. */
static struct http2_connection *
least_loaded(struct http2_client *client)
{
	struct http2_connection *least = NULL;
	struct http2_connection *connection;

	TAILQ_FOREACH (connection, &client->connections, entry) {
		if (!connection->is_over && nghttp2_session_check_request_allowed(connection->session) != 0 &&
		    (least == NULL || connection->call_count < least->call_count)) {
			least = connection;
		}
	}
	return least;
}

/* The oldest that takes calls, so that those that are not needed any more become idle. NULL: none does. */
static struct http2_connection *
choose(struct http2_client *client)
{
	struct http2_connection *connection = TAILQ_FIRST(&client->connections);

	while (connection != NULL) {
		struct http2_connection *next = TAILQ_NEXT(connection, entry);

		look_at_idle(connection); /* it may be gone */
		connection = next;
	}
	TAILQ_FOREACH (connection, &client->connections, entry) {
		if (takes_calls(connection)) {
			return connection;
		}
	}
	return client->connection_count < HTTP2_CONNECTIONS_MAX ? NULL : least_loaded(client);
}

static void
begin(struct http2_client *client, struct http2_call *call)
{
	struct http2_connection *connection = choose(client);

	if (connection == NULL) {
		connection = open_connection(client);
	}
	call->next = STAILQ_FIRST(&call->pieces);
	call->next_sent = 0;
	call->sent_count = 0;
	call->is_deferred = call->is_sent = call->has_sent_end = call->waits = false;
	call->client = client;
	call->connection = connection;
	call->stream = 0;
	TAILQ_INSERT_TAIL(&connection->calls, call, entry);
	connection->call_count++;
	if (connection->is_greeted) {
		http2_call_submit(call);
	}
	http2_connection_touch(connection);
}

void
http2_client_start(struct http2_client *client, struct http2_call *call)
{
	STAILQ_INIT(&call->pieces);
	call->has_ended = false;
	http2_call_clear(call);
	begin(client, call);
}

void
http2_client_restart(struct http2_client *client, struct http2_call *call)
{
	begin(client, call);
}

/* --- The client --- */

void
http2_client_probe(struct http2_client *client, http2_probe_fn done, void *argument)
{
	struct http2_connection *connection = choose(client);

	client->probed = done;
	client->probe_argument = argument;
	if (connection == NULL) {
		(void)open_connection(client);
	} else if (connection->is_greeted) {
		http2_client_probed(client, NULL);
	}
}

/* Why the connection is to be ended now; NULL: it goes on. */
static const char *
overdue(const struct http2_connection *connection)
{
	const struct http2_client *client = connection->client;

	if (!connection->is_greeted) {
		return client->ticks - connection->opened_tick > client->options->connect_timeout_s
			       ? "no connection within the time for it"
			       : NULL;
	}
	return connection->call_count == 0 && client->ticks - connection->used_tick > IDLE_S ? "idle" : NULL;
}

static void
on_sweep(void *argument)
{
	struct http2_client *client = argument;
	struct http2_connection *connection = TAILQ_FIRST(&client->connections);

	client->ticks++;
	while (connection != NULL) { /* starts over after each, since `done` may change the list */
		const char *why = overdue(connection);

		if (why != NULL) {
			connection->is_counted = true;
			end(connection, why);
			connection = TAILQ_FIRST(&client->connections);
		} else {
			connection = TAILQ_NEXT(connection, entry);
		}
	}
	loop_timer_set(client->sweep, SWEEP_MS);
}

bool
http2_client_is_connected(const struct http2_client *client)
{
	const struct http2_connection *connection;

	TAILQ_FOREACH (connection, &client->connections, entry) {
		if (!connection->is_over) {
			return true;
		}
	}
	return false;
}

size_t
http2_client_losses(const struct http2_client *client)
{
	return client->losses;
}

struct http2_client *
http2_client_new(struct loop *loop, const struct dial_options *options)
{
	struct http2_client *client = memory_new(sizeof(*client));

	client->loop = loop;
	client->options = options;
	client->callbacks = http2_callbacks();
	client->session_options = http2_session_options();
	client->in = memory_room(READ_SIZE);
	client->flush_task = loop_task_new(loop, on_flush, client);
	client->sweep = loop_timer_new(loop, on_sweep, client);
	TAILQ_INIT(&client->connections);
	TAILQ_INIT(&client->again);
	loop_timer_set(client->sweep, SWEEP_MS);
	return client;
}

void
http2_client_free(struct http2_client *client)
{
	while (!TAILQ_EMPTY(&client->connections)) {
		close_connection(TAILQ_FIRST(&client->connections));
	}
	loop_timer_free(client->sweep);
	loop_task_free(client->flush_task);
	nghttp2_session_callbacks_del(client->callbacks);
	nghttp2_option_del(client->session_options);
	free(client->in);
	free(client);
}
