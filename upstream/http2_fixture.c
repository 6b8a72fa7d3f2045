#include "upstream/http2_fixture.h"

#include "base/memory.h"
#include "base/unit_test.h"
#include "loop/socket.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#define READ_SIZE ((size_t)64 * 1024)
#define BODY_MAX ((size_t)4 << 20)

struct http2_server {
	struct loop *loop;
	struct loop_watch *watch;
	int fd;
	const struct http2_step *steps;
	size_t step_count;
	size_t calls;
	size_t begun;
	size_t connections;
	size_t resets;
	unsigned limit; /* 0: none */
	struct buf body;
	struct buf fields; /* of the last request: NAME NUL VALUE NUL … */
	TAILQ_HEAD(, peer) peers;
};

struct peer {
	TAILQ_ENTRY(peer) entry;
	struct http2_server *server;
	struct loop_watch *watch;
	int fd;
	nghttp2_session *session;
	size_t sent; /* of the body */
	struct buf out;
	bool closes;
};

static nghttp2_nv
field(const char *name, const char *value)
{
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
			    .namelen = strlen(name),
			    .value = (uint8_t *)(uintptr_t)value,
			    .valuelen = strlen(value)};
}

static ssize_t
read_body(nghttp2_session *session, int32_t stream, uint8_t *at, size_t room, uint32_t *flags,
	  nghttp2_data_source *source, void *user)
{
	struct peer *peer = user;
	const nghttp2_nv trailers[] = {field("grpc-status", "0"), field("late", "yes")};
	struct bytes left = bytes_skip(buf_bytes(&peer->server->body), peer->sent);
	size_t length = left.length < room ? left.length : room;

	(void)source;
	if (length > 0) {
		memcpy(at, left.at, length);
	}
	peer->sent += length;
	if (length == left.length) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		(void)nghttp2_submit_trailer(session, stream, trailers, 2);
	}
	return (ssize_t)length;
}

static void
play(struct peer *peer, int32_t stream, const struct http2_step *step)
{
	const nghttp2_nv head[] = {field(":status", "200"), field("content-type", "application/grpc"),
				   field("x-word", "w"), field("x-word-bin", "AA"), field("grpc-status", "5")};
	nghttp2_data_provider provider = {.read_callback = read_body};
	nghttp2_session *session = peer->session;

	switch (step->action) {
	case HTTP2_ANSWER:
		for (uint32_t i = 0; i < step->code; i++) {
			buf_byte(&peer->server->body, 0);
		}
		peer->sent = 0;
		(void)nghttp2_submit_response(session, stream, head, 4, &provider);
		break;
	case HTTP2_TRAILERS:
	case HTTP2_EARLY:
		(void)nghttp2_submit_response(session, stream, head, 5, NULL);
		break;
	case HTTP2_HEAD_AND_RESET:
		(void)nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, stream, NULL, head, 2, NULL);
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, step->code);
		break;
	case HTTP2_RESET_STREAM:
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream, step->code);
		break;
	case HTTP2_GO_AWAY_AND_ANSWER:
		peer->sent = 0;
		(void)nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR, NULL, 0);
		(void)nghttp2_submit_response(session, stream, head, 4, &provider);
		break;
	case HTTP2_GO_AWAY:
		(void)nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
		break;
	case HTTP2_CLOSE:
		peer->closes = true;
		break;
	case HTTP2_SILENCE:
		break;
	}
}

static const struct http2_step *
step_of(const struct http2_server *server, size_t number)
{
	return &server->steps[number < server->step_count ? number : server->step_count - 1];
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct peer *peer = user;
	struct http2_server *server = peer->server;
	bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	(void)session;
	server->resets += frame->hd.type == NGHTTP2_RST_STREAM;
	if (frame->hd.type == NGHTTP2_HEADERS) {
		buf_clear(&server->body);
		server->begun++;
		if (step_of(server, server->begun - 1)->action == HTTP2_EARLY) {
			play(peer, frame->hd.stream_id, step_of(server, server->begun - 1));
		}
	}
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && ends) {
		server->calls++;
		play(peer, frame->hd.stream_id, step_of(server, server->begun - 1));
	}
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
	  const uint8_t *value, size_t value_length, uint8_t flags, void *user)
{
	struct http2_server *server = ((struct peer *)user)->server;

	(void)session;
	(void)flags;
	(void)frame;
	if (bytes_equal_text(bytes_make(name, name_length), ":method")) { /* the first one */
		buf_clear(&server->fields);
	}
	buf_append(&server->fields, bytes_make(name, name_length));
	buf_byte(&server->fields, '\0');
	buf_append(&server->fields, bytes_make(value, value_length));
	buf_byte(&server->fields, '\0');
	return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t length, void *user)
{
	(void)session;
	(void)flags;
	(void)stream;
	buf_append(&((struct peer *)user)->server->body, bytes_make(data, length));
	return 0;
}

static void
peer_free(struct peer *peer)
{
	TAILQ_REMOVE(&peer->server->peers, peer, entry);
	nghttp2_session_del(peer->session);
	buf_fini(&peer->out);
	loop_watch_free(peer->watch);
	(void)close(peer->fd);
	free(peer);
}

/* False: the connection is over. */
static bool
turn(struct peer *peer)
{
	uint8_t in[READ_SIZE];
	const uint8_t *out;
	ssize_t length = read(peer->fd, in, sizeof(in));

	if (length == 0 || (length > 0 && nghttp2_session_mem_recv(peer->session, in, (size_t)length) < 0)) {
		return false;
	}
	while ((length = nghttp2_session_mem_send(peer->session, &out)) > 0) {
		buf_append(&peer->out, bytes_make(out, (size_t)length));
	}
	length = write(peer->fd, peer->out.at, peer->out.length);
	if (length > 0) {
		memmove(peer->out.at, peer->out.at + length, peer->out.length - (size_t)length);
		peer->out.length -= (size_t)length;
	}
	loop_watch_set(peer->watch, peer->out.length > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
	return !peer->closes &&
	       (nghttp2_session_want_read(peer->session) != 0 || nghttp2_session_want_write(peer->session) != 0);
}

static void
on_event(void *argument, unsigned events)
{
	(void)events;
	if (!turn(argument)) {
		peer_free(argument);
	}
}

static void
on_accept(void *argument, unsigned events)
{
	struct http2_server *server = argument;
	struct peer *peer = memory_new(sizeof(*peer));
	nghttp2_settings_entry settings = {.settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS};
	nghttp2_session_callbacks *callbacks;

	(void)events;
	peer->server = server;
	buf_init(&peer->out, BODY_MAX);
	peer->fd = socket_accept(server->fd);
	server->connections++;
	assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	assert_int_equal(nghttp2_session_server_new(&peer->session, callbacks, peer), 0);
	nghttp2_session_callbacks_del(callbacks);
	settings.value = server->limit;
	(void)nghttp2_submit_settings(peer->session, NGHTTP2_FLAG_NONE, &settings, server->limit > 0);
	TAILQ_INSERT_TAIL(&server->peers, peer, entry);
	peer->watch = loop_watch_new(server->loop, peer->fd, on_event, peer);
	loop_watch_set(peer->watch, LOOP_READ);
}

struct http2_server *
http2_server_new(struct loop *loop, const struct http2_step *steps, size_t count)
{
	struct http2_server *server = memory_new(sizeof(*server));
	struct error error;

	server->loop = loop;
	server->steps = steps;
	server->step_count = count;
	server->fd = socket_listen("127.0.0.1", 0, &error);
	assert_true(server->fd >= 0);
	buf_init(&server->body, BODY_MAX);
	buf_init(&server->fields, BODY_MAX);
	TAILQ_INIT(&server->peers);
	server->watch = loop_watch_new(loop, server->fd, on_accept, server);
	loop_watch_set(server->watch, LOOP_READ);
	return server;
}

void
http2_server_free(struct http2_server *server)
{
	if (server != NULL) {
		http2_server_hang_up(server);
		loop_watch_free(server->watch);
		(void)close(server->fd);
		buf_fini(&server->body);
		buf_fini(&server->fields);
		free(server);
	}
}

void
http2_server_hang_up(struct http2_server *server)
{
	while (!TAILQ_EMPTY(&server->peers)) {
		peer_free(TAILQ_FIRST(&server->peers));
	}
}

void
http2_server_limit(struct http2_server *server, unsigned calls)
{
	server->limit = calls;
}

unsigned
http2_server_port(const struct http2_server *server)
{
	return socket_port(server->fd);
}

size_t
http2_server_calls(const struct http2_server *server)
{
	return server->calls;
}

size_t
http2_server_connections(const struct http2_server *server)
{
	return server->connections;
}

size_t
http2_server_resets(const struct http2_server *server)
{
	return server->resets;
}

struct bytes
http2_server_body(const struct http2_server *server)
{
	return buf_bytes(&server->body);
}

const char *
http2_server_field(const struct http2_server *server, const char *name)
{
	const char *at = (const char *)server->fields.at;
	const char *end = at + server->fields.length;

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0) {
			return value;
		}
		at = value + strlen(value) + 1;
	}
	return "";
}
