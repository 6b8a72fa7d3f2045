/* nghttp2's callbacks. */
#include "grpc/internal.h"

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct grpc_connection *connection = user;

	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		(void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
							   call_new(connection, frame->hd.stream_id));
	}
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
	  const uint8_t *value, size_t value_length, uint8_t flags, void *user)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)flags;
	(void)user;
	if (call == NULL) {
		return 0;
	}
	if (!head_count(call, bytes_make(name, name_length), bytes_make(value, value_length))) {
		call_reset(call, NGHTTP2_ENHANCE_YOUR_CALM);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* nghttp2 goes on with HPACK's table only */
	}
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) { /* trailers of a request mean nothing to gRPC */
		head_take(call, bytes_make(name, name_length), bytes_make(value, value_length));
	}
	return 0;
}

static void
on_request_head(struct grpc_connection *connection, struct grpc_call *call)
{
	call->lacks_room = !call_has_room(connection) || !call_charge_metadata(call);
	head_judge(call);
	call_begin(call);
	if (call->has_timeout && !call->is_ended) {
		TAILQ_INSERT_TAIL(&connection->timed, call, timed_entry);
		call->is_timed = true;
	}
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct grpc_connection *connection = user;
	struct grpc_call *call;

	connection->received_tick = connection->lane->ticks;
	switch (frame->hd.type) {
	case NGHTTP2_SETTINGS:
		connection->is_greeted = true;
		return 0;
	case NGHTTP2_PING:
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
			ping_answered(connection, frame->ping.opaque_data);
		} else {
			ping_received(connection);
		}
		return 0;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		break;
	default:
		return 0;
	}
	call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (call == NULL) {
		return 0;
	}
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		on_request_head(connection, call);
	}
	if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
		receive_end(call);
	}
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t length, void *user)
{
	struct grpc_connection *connection = user;
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);

	(void)flags;
	(void)nghttp2_session_consume_connection(session, length);
	ping_data_received(connection, length);
	if (call != NULL) {
		receive_data(call, bytes_make(data, length));
	}
	return 0;
}

/* A client that still sends when its call has been answered is told to stop (RFC 9113, section 8.1). */
static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct grpc_connection *connection = user;
	struct grpc_call *call;

	if (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) {
		ping_excuse(connection);
		call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
		if (call != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && !call->is_remote_closed) {
			(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
							NGHTTP2_NO_ERROR);
		}
	}
	return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error_code, void *user)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);

	(void)error_code;
	(void)user;
	if (call != NULL) {
		call_closed(call);
	}
	return 0;
}

nghttp2_session_callbacks *
session_callbacks(void)
{
	nghttp2_session_callbacks *callbacks;

	if (nghttp2_session_callbacks_new(&callbacks) != 0) {
		return NULL;
	}
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
	nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, send_length);
	return callbacks;
}
