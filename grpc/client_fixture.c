#include "grpc/client_fixture.h"

#include "base/memory.h"
#include "base/unit_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE ((size_t)1 << 16)
#define BODY_MAX ((size_t)64 << 20)
#define FIELDS_MAX 64
#define TURNS_MAX 10000

/* --- The session --- */

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)user;
	stream->blocks++;
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
	  const uint8_t *value, size_t value_length, uint8_t flags, void *user)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)flags;
	(void)user;
	buf_append(&stream->fields, bytes_make(name, name_length));
	buf_text(&stream->fields, ": ");
	buf_append(&stream->fields, bytes_make(value, value_length));
	buf_byte(&stream->fields, '\n');
	return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t length, void *user)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	(void)user;
	buf_append(&stream->data, bytes_make(data, length));
	return 0;
}

static void
take_goaway(struct client *client, const nghttp2_goaway *goaway)
{
	client->goaways++;
	client->last_stream = goaway->last_stream_id;
	client->goaway_code = goaway->error_code;
	if (client->goaway_text[0] == '\0') {
		(void)snprintf(client->goaway_text, sizeof(client->goaway_text), "%.*s", (int)goaway->opaque_data_len,
			       (const char *)goaway->opaque_data);
	}
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (frame->hd.type == NGHTTP2_GOAWAY) {
		take_goaway(user, &frame->goaway);
	} else if (frame->hd.type == NGHTTP2_RST_STREAM && stream != NULL) {
		stream->was_reset = true;
		stream->error_code = frame->rst_stream.error_code;
	} else if (stream != NULL && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
		stream->has_ended = stream->has_ended || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	}
	return 0;
}

static int
on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user)
{
	struct stream *stream = nghttp2_session_get_stream_user_data(session, id);

	(void)error_code;
	(void)user;
	stream->is_closed = true;
	return 0;
}

static ssize_t
pad(nghttp2_session *session, const nghttp2_frame *frame, size_t most, void *user)
{
	const struct client *client = user;
	size_t length = frame->hd.length + client->padding;

	(void)session;
	return (ssize_t)(length < most ? length : most);
}

static nghttp2_session *
new_session(struct client *client)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_session *session;
	nghttp2_option *option;

	assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
	assert_int_equal(nghttp2_option_new(&option), 0);
	nghttp2_option_set_max_send_header_block_length(option, BODY_MAX);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_callbacks_set_select_padding_callback(callbacks, pad);
	assert_int_equal(nghttp2_session_client_new2(&session, callbacks, client, option), 0);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	return session;
}

struct client *
client_new(const struct grpc_options *options)
{
	struct client *client = memory_new(sizeof(*client));
	struct error error;
	int ends[2];

	client->options = *options;
	client->options.max_message = CLIENT_MAX_MESSAGE;
	client->options.budget = &client->budget;
	budget_init(&client->budget, CLIENT_BUDGET);
	client->loop = loop_new(&error);
	client->offload = offload_new(1);
	client->lane = grpc_lane_new(&client->options, client->loop, client->offload, client);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	grpc_lane_accept(client->lane, ends[0], NULL);
	client->fd = ends[1];
	client->session = new_session(client);
	assert_int_equal(nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, NULL, 0), 0);
	return client;
}

void
client_free(struct client *client)
{
	client_leave(client);
	client_turn(client);
	offload_free(client->offload);
	client_run_loop(client, 1); /* delivers the mail of offloaded work */
	assert_true(TAILQ_EMPTY(&client->lane->connections));
	assert_int_equal(client->lane->call_count, 0);
	assert_int_equal(client->budget.used, 0);
	grpc_lane_free(client->lane);
	loop_free(client->loop);
	nghttp2_session_del(client->session);
	for (size_t i = 0; i < client->stream_count; i++) {
		buf_fini(&client->streams[i].fields);
		buf_fini(&client->streams[i].data);
		buf_fini(&client->streams[i].body);
	}
	free(client);
}

/* --- Calls --- */

static ssize_t
read_body(nghttp2_session *session, int32_t id, uint8_t *room, size_t length, uint32_t *flags,
	  nghttp2_data_source *source, void *user)
{
	struct stream *stream = source->ptr;
	size_t left = stream->body.length - stream->said;
	size_t taken = left < length ? left : length;

	(void)session;
	(void)id;
	(void)user;
	if (taken == 0 && !stream->body_ends) {
		return NGHTTP2_ERR_DEFERRED;
	}
	if (taken > 0) {
		memcpy(room, stream->body.at + stream->said, taken);
	}
	stream->said += taken;
	if (taken == left && stream->body_ends) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	return (ssize_t)taken;
}

static void
put_field(nghttp2_nv *list, size_t *count, const char *name, const char *value)
{
	if (value != NULL && *value != '\0') {
		list[(*count)++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
						.namelen = strlen(name),
						.value = (uint8_t *)(uintptr_t)value,
						.valuelen = strlen(value)};
	}
}

struct stream *
client_open(struct client *client, const struct head *head)
{
	struct stream *stream = &client->streams[client->stream_count++];
	nghttp2_data_provider provider = {.source = {.ptr = stream}, .read_callback = read_body};
	nghttp2_nv list[FIELDS_MAX];
	size_t count = 0;

	assert_true(client->stream_count <= CLIENT_STREAMS);
	buf_init(&stream->fields, BODY_MAX);
	buf_init(&stream->data, BODY_MAX);
	buf_init(&stream->body, BODY_MAX);
	put_field(list, &count, ":method", head->method == NULL ? "POST" : head->method);
	put_field(list, &count, ":scheme", "http");
	put_field(list, &count, ":path", head->path);
	put_field(list, &count, ":authority", "localhost");
	for (size_t i = 0; head->name != NULL && i < (head->count == 0 ? 1 : head->count); i++) {
		put_field(list, &count, head->name, head->value);
	}
	put_field(list, &count, "content-type", head->content_type == NULL ? "application/grpc" : head->content_type);
	put_field(list, &count, "te", head->te == NULL ? "trailers" : head->te);
	stream->id = nghttp2_submit_request(client->session, NULL, list, count, &provider, stream);
	assert_true(stream->id > 0);
	return stream;
}

void
client_say(struct client *client, struct stream *stream, struct bytes bytes)
{
	buf_append(&stream->body, bytes);
	(void)nghttp2_session_resume_data(client->session, stream->id);
}

void
client_message(struct client *client, struct stream *stream, struct bytes message)
{
	size_t length = message.length;
	const uint8_t prefix[] = {0, (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8),
				  (uint8_t)length};

	client_say(client, stream, bytes_make(prefix, sizeof(prefix)));
	client_say(client, stream, message);
}

void
client_half_close(struct client *client, struct stream *stream)
{
	stream->body_ends = true;
	(void)nghttp2_session_resume_data(client->session, stream->id);
}

void
client_reset(struct client *client, struct stream *stream)
{
	assert_int_equal(nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL), 0);
}

/* --- Turns --- */

static void
on_turn_over(void *argument)
{
	loop_stop(argument);
}

void
client_run_loop(struct client *client, uint64_t ms)
{
	struct loop_timer *timer = loop_timer_new(client->loop, on_turn_over, client->loop);

	loop_timer_set(timer, ms);
	loop_run(client->loop);
	loop_timer_free(timer);
}

/* Writes all; while the socket is full, the server has its turn. */
static void
write_all(struct client *client, const uint8_t *data, size_t length)
{
	while (length > 0) {
		ssize_t put = send(client->fd, data, length, MSG_NOSIGNAL);

		if (put < 0 && errno != EAGAIN) {
			return; /* the server has closed the connection */
		}
		if (put > 0) {
			data += put;
			length -= (size_t)put;
		} else {
			client_run_loop(client, 0);
		}
	}
}

void
client_send(struct client *client)
{
	const uint8_t *data;
	ssize_t length;

	while (client->fd >= 0 && (length = nghttp2_session_mem_send(client->session, &data)) > 0) {
		write_all(client, data, (size_t)length);
	}
}

bool
client_receive(struct client *client)
{
	static uint8_t room[READ_SIZE];
	ssize_t got = client->fd < 0 ? -1 : recv(client->fd, room, sizeof(room), 0);

	if (got == 0 || (got < 0 && errno == ECONNRESET)) {
		client->is_left = true;
	}
	if (got <= 0) {
		return false;
	}
	assert_int_equal(nghttp2_session_mem_recv(client->session, room, (size_t)got), got);
	return true;
}

void
client_turn(struct client *client)
{
	bool moved = true;

	for (int i = 0; moved && i < TURNS_MAX; i++) {
		client_send(client);
		client_run_loop(client, 1);
		moved = client_receive(client) ||
			(client->fd >= 0 && !client->is_left && nghttp2_session_want_write(client->session) != 0);
	}
}

void
client_leave(struct client *client)
{
	if (client->fd >= 0) {
		(void)close(client->fd);
		client->fd = -1;
	}
}

/* --- What has come --- */

void
assert_field(const struct stream *stream, const char *name, const char *value)
{
	struct bytes rest = buf_bytes(&stream->fields);
	struct bytes found = bytes_make(NULL, 0);

	while (rest.length > 0) {
		struct bytes line = bytes_take_until(&rest, '\n');

		if (bytes_starts_with(line, name) && line.at[strlen(name)] == ':') {
			found = bytes_skip(line, strlen(name) + 2);
		}
	}
	if (value == NULL ? found.at != NULL : found.at == NULL || !bytes_equal_text(found, value)) {
		fail_msg("%s is not %s in:\n%.*s", name, value == NULL ? "absent" : value,
			 BYTES_ARGS(buf_bytes(&stream->fields)));
	}
}

void
assert_grpc_status(const struct stream *stream, enum grpc_code code)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)code);
	assert_field(stream, "grpc-status", text);
	assert_true(stream->has_ended);
}

void
assert_messages(const struct stream *stream, const char *text)
{
	struct bytes rest = buf_bytes(&stream->data);
	struct buf messages;

	buf_init(&messages, BODY_MAX);
	while (rest.length >= GRPC_PREFIX_SIZE) {
		size_t length = (size_t)rest.at[2] << 16 | (size_t)rest.at[3] << 8 | (size_t)rest.at[4];

		rest = bytes_skip(rest, GRPC_PREFIX_SIZE);
		assert_true(length <= rest.length);
		buf_append(&messages, bytes_make(rest.at, length));
		rest = bytes_skip(rest, length);
	}
	assert_int_equal(rest.length, 0);
	assert_int_equal(messages.length, strlen(text));
	assert_memory_equal(messages.length == 0 ? (const uint8_t *)"" : messages.at, text, messages.length);
	buf_fini(&messages);
}
