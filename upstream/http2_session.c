/* nghttp2's callbacks: responses. */
#include "base/memory.h"
#include "upstream/http2_internal.h"

#include <stdio.h>

#define FIELDS_FIRST 16

static struct http2_call *
call_of(nghttp2_session *session, int32_t stream)
{
	return nghttp2_session_get_stream_user_data(session, stream); /* NULL: nobody waits for it any more */
}

/* Ends a call whose stream goes on: the server is told to stop. */
static void
break_off(nghttp2_session *session, struct http2_call *call, enum http2_outcome outcome, const char *why)
{
	(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_CANCEL);
	http2_call_finish(call, outcome, why);
}

/* --- Fields --- */

/* False: no memory. */
static bool
add_field(struct http2_call *call, struct bytes name, struct bytes value)
{
	if (call->received_count == call->received_capacity) {
		size_t capacity = call->received_capacity == 0 ? FIELDS_FIRST : 2 * call->received_capacity;
		struct http2_field *larger = arena_array(&call->arena, capacity, sizeof(*larger));

		if (larger == NULL) {
			return false;
		}
		if (call->received_count > 0) {
			memcpy(larger, call->received, call->received_count * sizeof(*larger));
		}
		call->received = larger;
		call->received_capacity = capacity;
	}
	call->received[call->received_count++] =
		(struct http2_field){.name = arena_copy(&call->arena, name), .value = arena_copy(&call->arena, value)};
	return call->received[call->received_count - 1].name.at != NULL &&
	       call->received[call->received_count - 1].value.at != NULL;
}

static void
forget_fields(struct http2_call *call)
{
	arena_clear(&call->arena);
	call->received = NULL;
	call->received_count = call->received_capacity = call->received_bytes = 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
	  const uint8_t *value, size_t value_length, uint8_t flags, void *user)
{
	struct http2_call *call = call_of(session, frame->hd.stream_id);

	(void)flags;
	(void)user;
	if (call == NULL) {
		return 0;
	}
	call->received_bytes += name_length + value_length + 32;
	if (call->received_bytes > HTTP2_FIELDS_MAX ||
	    !add_field(call, bytes_make(name, name_length), bytes_make(value, value_length))) {
		call->received_count = 0;
		break_off(session, call, HTTP2_BROKEN, "the response's header fields are too large");
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return 0;
}

/* Interim responses (RFC 9110 section 15.2). */
static bool
is_interim(const struct http2_call *call)
{
	for (size_t i = 0; i < call->received_count; i++) {
		if (bytes_equal_text(call->received[i].name, ":status")) {
			return bytes_starts_with(call->received[i].value, "1");
		}
	}
	return false;
}

static void
take_head(struct http2_connection *connection, struct http2_call *call, bool ends)
{
	if (is_interim(call)) {
		return;
	}
	call->has_head = true;
	connection->was_used = true;
	if (connection->is_over) { /* it said so before */
		http2_connection_count_loss(connection);
	}
	call->on_head(call, call->received, call->received_count, ends);
}

/* --- Frames --- */

/* The calls that have waited for it are sent. Those that are too many for this connection go over others. */
static void
take_greeting(struct http2_connection *connection)
{
	uint32_t most =
		nghttp2_session_get_remote_settings(connection->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	bool may_open = connection->client->connection_count < HTTP2_CONNECTIONS_MAX;
	struct http2_call *call = TAILQ_FIRST(&connection->calls);
	uint32_t count = 0;

	connection->is_greeted = true;
	http2_client_probed(connection->client, NULL);
	while (call != NULL) {
		struct http2_call *next = TAILQ_NEXT(call, entry);

		if (count++ < most || !may_open) {
			http2_call_submit(call);
		} else {
			http2_call_again(call);
		}
		call = next;
	}
	http2_connection_touch(connection);
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2_connection *connection = user;
	bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	struct http2_call *call;

	if (frame->hd.type == NGHTTP2_GOAWAY) {
		connection->is_over = true;
		http2_connection_count_loss(connection);
	}
	if (frame->hd.type == NGHTTP2_SETTINGS && !connection->is_greeted) {
		take_greeting(connection);
	}
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
		return 0;
	}
	call = call_of(session, frame->hd.stream_id);
	if (call != NULL && frame->hd.type == NGHTTP2_HEADERS && !call->has_head) {
		take_head(connection, call, ends);
		call = call_of(session, frame->hd.stream_id); /* it may have been cancelled */
		if (call != NULL) {
			forget_fields(call);
		}
	}
	if (call != NULL && ends) {
		if (call->has_sent_end) {
			http2_call_finish(call, HTTP2_DONE, NULL);
		} else { /* the server does not need the rest of the request */
			break_off(session, call, HTTP2_DONE, NULL);
		}
	}
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t length, void *user)
{
	struct http2_call *call = call_of(session, stream);

	(void)flags;
	(void)user;
	(void)nghttp2_session_consume_connection(session, length);
	if (call != NULL) {
		call->on_body(call, bytes_make(data, length));
	}
	return 0;
}

/* Before it is sent: from then on it may have been. */
static int
before_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct http2_call *call = frame->hd.type == NGHTTP2_HEADERS ? call_of(session, frame->hd.stream_id) : NULL;

	(void)user;
	if (call != NULL) {
		call->is_sent = true;
	}
	return 0;
}

/* A call that the server does not take any more on this connection: it has no stream yet. */
static int
on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int failure, void *user)
{
	struct http2_connection *connection = user;
	struct http2_call *call;

	(void)session;
	TAILQ_FOREACH (call, &connection->calls, entry) {
		if (call->stream == frame->hd.stream_id) {
			break;
		}
	}
	if (frame->hd.type == NGHTTP2_HEADERS && call != NULL) {
		http2_call_fail(call, HTTP2_UNPROCESSED, nghttp2_strerror(failure));
	}
	return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error_code, void *user)
{
	struct http2_call *call = call_of(session, stream);
	char text[128];

	(void)user;
	if (call == NULL) {
		return 0;
	}
	(void)snprintf(text, sizeof(text), "the server reset the stream: %s", nghttp2_http2_strerror(error_code));
	call->error_code = error_code;
	if (error_code == NGHTTP2_REFUSED_STREAM) {
		http2_call_fail(call, HTTP2_UNPROCESSED, text);
	} else {
		http2_call_finish(call, HTTP2_RESET, text);
	}
	return 0;
}

nghttp2_session_callbacks *
http2_callbacks(void)
{
	nghttp2_session_callbacks *callbacks = NULL;

	memory_check(nghttp2_session_callbacks_new(&callbacks) == 0);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_before_frame_send_callback(callbacks, before_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	return callbacks;
}

nghttp2_option *
http2_session_options(void)
{
	nghttp2_option *option = NULL;

	memory_check(nghttp2_option_new(&option) == 0);
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_max_send_header_block_length(option, 2 * HTTP2_FIELDS_MAX);
	/* Triton's error texts may end in a space, which RFC 9113 section 8.2.1 forbids. */
	nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
	return option;
}
