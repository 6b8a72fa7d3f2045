/* Connections: reading, writing, their age and their end. And the lane, which has them all. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "grpc/internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define READ_SIZE ((size_t)64 * 1024)
#define READ_SIZE_MIN ((size_t)512)
#define READ_PER_TURN ((size_t)256 * 1024)
#define READ_NS NS_PER_MS
#define SEND_FIELDS_MAX ((size_t)256 * 1024) /* of header fields that a method adds */
#define CALLS_MAX 1024			     /* of a connection, at once */
/* Resets that nghttp2 lets a client send at once, and per second. They are cheap here: a reset takes the call's work
 * out of its queue, and a connection reads a bounded amount before the others have their turn. */
#define RESETS (UINT64_C(1) << 20)

/* Seconds: for the client's preface; without progress in writing, or in receiving a message that has begun. */
#define GREETING_LIMIT 60
#define STALL_LIMIT 60
#define STOPPING_LIMIT 5
#define LINGER_LIMIT 2
#define SLOWEST ((size_t)4096) /* bytes per second of a message */
/* The same while messages use more than half of their budget. */
#define SCARCE_LIMIT 5
#define SCARCE_SLOWEST ((size_t)64 * 1024)

static void on_event(void *argument, unsigned events);

/* --- Life cycle --- */

/* Cancels all calls, and takes the connection out of the lists of those that have something to send. */
static void
end_calls(struct grpc_connection *connection)
{
	struct grpc_lane *lane = connection->lane;

	if (connection->is_flushing) {
		TAILQ_REMOVE(&lane->flushing, connection, dirty_entry);
	} else if (connection->is_dirty) {
		TAILQ_REMOVE(&lane->dirty, connection, dirty_entry);
	}
	connection->is_dirty = connection->is_flushing = false;
	connection->is_ending = true; /* what is cancelled now must not queue it again */
	while (!TAILQ_EMPTY(&connection->calls)) {
		call_closed(TAILQ_FIRST(&connection->calls));
	}
}

/* Frees the connection; its calls are cancelled. */
static void
connection_free(struct grpc_connection *connection)
{
	struct grpc_lane *lane = connection->lane;

	TAILQ_REMOVE(&lane->connections, connection, entry);
	end_calls(connection);
	nghttp2_session_del(connection->session); /* calls no callback */
	chain_fini(&connection->out);
	loop_watch_free(connection->watch);
	transport_close(&connection->transport);
	free(connection);
	lane_check_stopped(lane);
}

static void
greet(struct grpc_connection *connection)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, CALLS_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, connection->bandwidth.window},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX},
	};

	(void)nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings,
				      sizeof(settings) / sizeof(*settings));
	connection_set_window(connection);
}

/* Up to a tenth more or less, so that not all clients come back at once. */
static unsigned
age_limit(const struct grpc_options *options)
{
	uint64_t seconds = (options->max_connection_age_ms + MS_PER_TICK - 1) / MS_PER_TICK;

	if (seconds == 0) {
		return 0;
	}
	return (unsigned)(seconds + (seconds / 10 == 0 ? 0 : clock_now_ns() % (seconds / 5) - seconds / 10));
}

void
grpc_lane_accept(struct grpc_lane *lane, int fd, struct tls_server *tls)
{
	struct grpc_connection *connection = memory_new(sizeof(*connection));

	if (nghttp2_session_server_new2(&connection->session, lane->callbacks, connection, lane->session_options) !=
	    0) {
		(void)close(fd);
		free(connection);
		return;
	}
	connection->lane = lane;
	transport_init(&connection->transport, fd, tls);
	TAILQ_INIT(&connection->calls);
	TAILQ_INIT(&connection->timed);
	TAILQ_INSERT_TAIL(&lane->connections, connection, entry);
	connection->bandwidth.window = BANDWIDTH_WINDOW_MIN;
	connection->read_size = READ_SIZE;
	connection->max_age = age_limit(lane->options);
	connection->made_tick = connection->received_tick = connection->written_tick = lane->ticks;
	connection->watch = loop_watch_new(lane->loop, fd, on_event, connection);
	loop_watch_set(connection->watch, LOOP_READ);
	greet(connection);
	connection_touch(connection);
}

/* --- Writing --- */

/* Fills the chain with what the session has to send. False: the session is broken. */
static bool
fill(struct grpc_connection *connection)
{
	const uint8_t *data;
	ssize_t length;

	do {
		if (!chain_has_room(&connection->out, READ_SIZE / 2, 2)) { /* more than any frame but DATA */
			return true;
		}
		length = nghttp2_session_mem_send(connection->session, &data);
		if (length > 0) {
			chain_copy(&connection->out, bytes_make(data, (size_t)length));
		}
	} while (length > 0);
	return length == 0;
}

/* Writes the chain. False: the connection is broken. */
static bool
write_chain(struct grpc_connection *connection)
{
	struct chain *out = &connection->out;

	while (!chain_is_empty(out)) {
		struct iovec iov[CHAIN_SEGMENTS];
		ssize_t put = transport_write(&connection->transport, iov, chain_gather(out, iov));

		if (put >= 0) {
			connection->written_tick = connection->lane->ticks;
			chain_advance(out, (size_t)put);
		} else if (errno != EINTR) {
			return errno == EAGAIN;
		}
	}
	return true;
}

/* Sends until the socket is full or nothing is left to send. False: the connection is broken. */
static bool
send_all(struct grpc_connection *connection)
{
	struct chain *out = &connection->out;
	bool was_idle = chain_is_empty(out);

	for (;;) {
		if (!write_chain(connection)) {
			return false;
		}
		if (!chain_is_empty(out)) {
			if (was_idle) {
				connection->written_tick = connection->lane->ticks;
			}
			return chain_keep(out);
		}
		chain_start(out, connection->lane->scratch);
		if (!fill(connection)) {
			return false;
		}
		if (chain_is_empty(out)) {
			chain_fini(out);
			return true;
		}
	}
}

static void
resume_calls(struct grpc_connection *connection)
{
	struct grpc_call *call;

	connection->has_resumed = false;
	TAILQ_FOREACH (call, &connection->calls, entry) {
		if (call->resumes) {
			call->resumes = false;
			receive_deliver(call);
		}
	}
}

static void
start_deadlines(struct grpc_connection *connection)
{
	while (!TAILQ_EMPTY(&connection->timed)) {
		struct grpc_call *call = TAILQ_FIRST(&connection->timed);

		TAILQ_REMOVE(&connection->timed, call, timed_entry);
		call->is_timed = false;
		call_start_deadline(call);
	}
}

/* The client is sent away, both sides have said GOAWAY, or no call can come any more, and none is left. */
static bool
is_over(const struct grpc_connection *connection)
{
	return connection->is_refused || (nghttp2_session_want_read(connection->session) == 0 &&
					  nghttp2_session_want_write(connection->session) == 0);
}

/* Reading waits for writing, else a client that does not read makes us queue replies without end. */
static void
wait_for_event(struct grpc_connection *connection)
{
	unsigned wanted = chain_is_empty(&connection->out) ? LOOP_READ : LOOP_WRITE;
	unsigned events = transport_events(&connection->transport, wanted);

	loop_watch_set(connection->watch, events);
	if ((wanted & events & LOOP_READ) != 0 && transport_pending(&connection->transport)) {
		loop_watch_wake(connection->watch);
	}
}

/*
 * Ends a connection so that the client reads what was sent: if the socket were closed while the client still sends, its
 * kernel would throw away what it has not read.
 */
static void
linger(struct grpc_connection *connection)
{
	end_calls(connection);
	chain_fini(&connection->out);
	transport_shutdown(&connection->transport);
	connection->is_lingering = true;
	connection->linger_tick = connection->lane->ticks;
	loop_watch_set(connection->watch, LOOP_READ);
}

/* At the end of a turn: sends, and ends the connection if it is over. */
static void
flush(struct grpc_connection *connection)
{
	if (connection->has_resumed) {
		resume_calls(connection);
	}
	start_deadlines(connection);
	connection->is_broken = connection->is_broken || !send_all(connection);
	if (connection->transport.failure != NULL) { /* the client is to read OpenSSL's alert */
		log_verbose("TLS with a client of gRPC failed: %s", connection->transport.failure);
		linger(connection);
	} else if (connection->is_broken) {
		connection_free(connection);
	} else if (chain_is_empty(&connection->out) && is_over(connection)) {
		linger(connection);
	} else {
		wait_for_event(connection);
	}
}

/* What becomes dirty meanwhile has its turn when the loop has looked at the other connections. */
static void
on_flush(void *argument)
{
	struct grpc_lane *lane = argument;
	struct grpc_connection *connection;

	TAILQ_FOREACH (connection, &lane->dirty, dirty_entry) {
		connection->is_flushing = true;
	}
	TAILQ_CONCAT(&lane->flushing, &lane->dirty, dirty_entry);
	while (!TAILQ_EMPTY(&lane->flushing)) {
		connection = TAILQ_FIRST(&lane->flushing);
		TAILQ_REMOVE(&lane->flushing, connection, dirty_entry);
		connection->is_flushing = false;
		connection->is_dirty = false;
		flush(connection);
	}
}

/* --- Reading --- */

/*
 * Reads fewer bytes at once where they cause much work, as header fields that HPACK's table makes long, or many calls:
 * after READ_NS it is the other connections' turn.
 */
static void
adapt_read_size(struct grpc_connection *connection)
{
	uint64_t took_ns = clock_now_ns() - connection->now_ns;

	if (took_ns > READ_NS && connection->read_size > READ_SIZE_MIN) {
		connection->read_size /= took_ns > 4 * READ_NS ? 8 : 2;
	} else if (took_ns < READ_NS / 4 && connection->read_size < READ_SIZE) {
		connection->read_size *= 2;
	}
}

/* Reads some of what has come. */
static void
receive(struct grpc_connection *connection)
{
	uint8_t *buffer = connection->lane->scratch;
	size_t size = connection->read_size;
	size_t total = 0;
	ssize_t got;
	ssize_t taken = 0;

	connection->now_ns = clock_now_ns();
	do {
		got = transport_read(&connection->transport, buffer, size);
		if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
			return;
		}
		/* nghttp2 answers most faults of the client by GOAWAY, and then wants to write and to end. */
		if (got <= 0 || (taken = nghttp2_session_mem_recv(connection->session, buffer, (size_t)got)) != got) {
			if (taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC) {
				log_verbose("a client of gRPC does not speak HTTP/2: does it mean the port of HTTP?");
			}
			connection->is_broken = true;
			return;
		}
		total += (size_t)got;
		adapt_read_size(connection);
	} while (connection->read_size >= size && total < READ_PER_TURN &&
		 ((size_t)got == size || transport_pending(&connection->transport)));
}

/* May free the connection. */
static void
throw_away(struct grpc_connection *connection)
{
	ssize_t got = recv(connection->transport.fd, connection->lane->scratch, READ_SIZE, 0);

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
		connection_free(connection);
	}
}

static void
on_event(void *argument, unsigned events)
{
	struct grpc_connection *connection = argument;

	(void)events; /* over TLS, either may wait for the other direction */
	if (connection->is_lingering) {
		throw_away(connection);
		return;
	}
	if (chain_is_empty(&connection->out)) {
		receive(connection);
	}
	connection_touch(connection);
}

/* --- The sweep --- */

static void
start_draining(struct grpc_connection *connection)
{
	if (connection->drain_tick == 0) {
		drain_begin(connection);
		ping_drain(connection); /* its reply comes behind the calls that are on their way */
	}
}

/* Is there more that the client has to send soon, and that it may send? */
static bool
is_receiving(const struct grpc_call *call)
{
	return !call->is_paused && (call->prefix_length > 0 || (!call->has_begun && !call->is_finished) ||
				    (call->has_begun && !call->is_remote_closed && !call->method->is_client_streaming));
}

/* Has the client been too slow with the call's message, or in taking its reply? */
static bool
is_stalled(const struct grpc_call *call)
{
	const struct grpc_lane *lane = call->connection->lane;
	const struct budget *budget = lane->options->budget;
	bool is_sending = call->unsent > 0 || call->plain_body.length > 0;
	size_t received;
	unsigned taken;

	if (is_sending && lane->ticks - call->sent_tick > STALL_LIMIT) {
		return true;
	}
	if (!is_receiving(call) || receive_is_held_up(call)) {
		return false;
	}
	if (lane->ticks - call->active_tick > STALL_LIMIT) {
		return true;
	}
	if (call->incoming == NULL) {
		return false;
	}
	received = call->incoming->message.content.length - call->incoming_left;
	taken = lane->ticks - call->message_tick;
	return taken > STALL_LIMIT + received / SLOWEST ||
	       (atomic_load_explicit(&budget->used, memory_order_relaxed) > budget->limit / 2 &&
		taken > SCARCE_LIMIT + received / SCARCE_SLOWEST);
}

static void
sweep_calls(struct grpc_connection *connection)
{
	struct grpc_call *call;

	TAILQ_FOREACH (call, &connection->calls, entry) {
		if (is_stalled(call)) {
			call_reset(call, NGHTTP2_CANCEL);
		}
	}
}

/* Has a lingering connection's client stopped to take what the kernel still holds for it? */
static bool
has_lingered(struct grpc_connection *connection)
{
	int left = 0;

	(void)ioctl(connection->transport.fd, SIOCOUTQ, &left);
	if (left < connection->linger_left) {
		connection->linger_tick = connection->lane->ticks;
	}
	connection->linger_left = left;
	return connection->lane->ticks - connection->linger_tick > LINGER_LIMIT;
}

/* True: the connection is to be freed. */
static bool
sweep(struct grpc_connection *connection)
{
	unsigned now = connection->lane->ticks;
	unsigned stall = connection->lane->stopping ? STOPPING_LIMIT : STALL_LIMIT;

	if (connection->is_lingering) {
		return has_lingered(connection);
	}
	if ((!connection->is_greeted && now - connection->made_tick > GREETING_LIMIT) ||
	    (!chain_is_empty(&connection->out) && now - connection->written_tick > stall)) {
		return true;
	}
	if (ping_sweep(connection) || drain_sweep(connection)) {
		return true;
	}
	if (connection->max_age > 0 && now - connection->made_tick >= connection->max_age) {
		start_draining(connection);
	}
	sweep_calls(connection);
	return false;
}

/* --- Lanes --- */

static nghttp2_option *
new_session_options(void)
{
	nghttp2_option *option;

	if (nghttp2_option_new(&option) != 0) {
		return NULL;
	}
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_max_send_header_block_length(option, SEND_FIELDS_MAX); /* else nothing would be sent */
	nghttp2_option_set_stream_reset_rate_limit(option, RESETS, RESETS);
	return option;
}

struct grpc_lane *
grpc_lane_new(const struct grpc_options *options, struct loop *loop, struct offload *offload, void *context)
{
	struct grpc_lane *lane = memory_new(sizeof(*lane));

	lane->options = options;
	lane->loop = loop;
	lane->offload = offload;
	lane->context = context;
	lane->ticks = 1; /* 0 stands for "not yet" */
	lane->callbacks = session_callbacks();
	lane->session_options = new_session_options();
	lane->scratch = memory_room(CHAIN_BUFFER);
	TAILQ_INIT(&lane->connections);
	TAILQ_INIT(&lane->dirty);
	TAILQ_INIT(&lane->flushing);
	lane->flush_task = loop_task_new(loop, on_flush, lane);
	return lane;
}

void
grpc_lane_sweep(struct grpc_lane *lane)
{
	struct grpc_connection *connection = TAILQ_FIRST(&lane->connections);

	lane->ticks++;
	while (connection != NULL) {
		struct grpc_connection *next = TAILQ_NEXT(connection, entry);

		if (sweep(connection)) {
			connection_free(connection);
		}
		connection = next;
	}
}

static void
tell_calls(struct grpc_connection *connection)
{
	struct grpc_call *call;

	TAILQ_FOREACH (call, &connection->calls, entry) {
		if (call->has_begun && !call->is_ended && call->method->stopping != NULL) {
			call->method->stopping(call);
		}
	}
}

void
grpc_lane_stop(struct grpc_lane *lane, void (*done)(void *argument), void *argument)
{
	struct grpc_connection *connection;

	lane->stopping = true;
	lane->stopped = done;
	lane->stopped_argument = argument;
	TAILQ_FOREACH (connection, &lane->connections, entry) {
		if (!connection->is_lingering) {
			tell_calls(connection);
			start_draining(connection);
		}
	}
	lane_check_stopped(lane);
}

void
grpc_lane_free(struct grpc_lane *lane)
{
	if (lane == NULL) {
		return;
	}
	while (lane->spare_calls != NULL) {
		struct grpc_call *call = lane->spare_calls;

		lane->spare_calls = call->next_spare;
		arena_fini(&call->arena);
		free(call);
	}
	nghttp2_session_callbacks_del(lane->callbacks);
	nghttp2_option_del(lane->session_options);
	loop_task_free(lane->flush_task);
	free(lane->scratch);
	free(lane);
}
