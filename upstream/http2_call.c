/* One call: its body, and its end. */
#include "upstream/http2_internal.h"

void
http2_call_detach(struct http2_call *call)
{
	struct http2_connection *connection = call->connection;

	(void)nghttp2_session_set_stream_user_data(connection->session, call->stream, NULL);
	TAILQ_REMOVE(&connection->calls, call, entry);
	call->connection = NULL;
}

static void
release_pieces(struct http2_call *call, const struct http2_piece *until)
{
	while (STAILQ_FIRST(&call->pieces) != until) {
		struct http2_piece *piece = STAILQ_FIRST(&call->pieces);

		STAILQ_REMOVE_HEAD(&call->pieces, entry);
		piece->released(piece);
	}
}

void
http2_call_clear(struct http2_call *call)
{
	arena_init_small(&call->arena, 2 * HTTP2_FIELDS_MAX);
	call->has_head = false;
	call->received = NULL;
	call->received_count = call->received_capacity = call->received_bytes = 0;
}

void
http2_call_finish(struct http2_call *call, enum http2_outcome outcome, const char *why)
{
	const struct http2_field *trailers = call->received;
	size_t count = call->received_count;
	struct arena arena = call->arena;

	http2_call_detach(call);
	if (!call->keeps_pieces) {
		release_pieces(call, NULL);
	}
	http2_call_clear(call);
	call->done(call, outcome, trailers, count, why); /* it may be gone */
	arena_fini(&arena);
}

void
http2_call_fail(struct http2_call *call, enum http2_outcome outcome, const char *why)
{
	struct http2_client *client = call->client;
	bool again = call->connection->was_used && call->connection->is_over && !call->has_head && call->keeps_pieces &&
		     (outcome == HTTP2_UNPROCESSED || call->repeatable);

	if (!again) {
		http2_call_finish(call, outcome, why);
		return;
	}
	http2_call_detach(call);
	call->waits = true;
	TAILQ_INSERT_TAIL(&client->again, call, entry);
	loop_task_set(client->flush_task);
}

/* --- The request --- */

ssize_t
http2_call_read(nghttp2_session *session, int32_t stream, uint8_t *at, size_t room, uint32_t *flags,
		nghttp2_data_source *source, void *user)
{
	struct http2_call *call = nghttp2_session_get_stream_user_data(session, stream);
	size_t put = 0;

	(void)source;
	(void)user;
	if (call == NULL) { /* cancelled: its reset is on the way */
		return NGHTTP2_ERR_DEFERRED;
	}
	while (call->next != NULL && put < room) {
		struct bytes left = bytes_skip(call->next->bytes, call->next_sent);
		size_t length = left.length < room - put ? left.length : room - put;

		if (length > 0) {
			memcpy(at + put, left.at, length);
		}
		put += length;
		call->next_sent += length;
		if (length == left.length) {
			call->next = STAILQ_NEXT(call->next, entry);
			call->next_sent = 0;
		}
	}
	if (!call->keeps_pieces) {
		release_pieces(call, call->next);
	}
	if (call->next == NULL && call->has_ended) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (put == 0) {
		call->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)put;
}

static void
wake(struct http2_call *call)
{
	if (call->connection != NULL) {
		if (call->is_deferred) {
			call->is_deferred = false;
			(void)nghttp2_session_resume_data(call->connection->session, call->stream);
		}
		http2_connection_touch(call->connection);
	}
}

void
http2_call_send(struct http2_call *call, struct http2_piece *piece)
{
	STAILQ_INSERT_TAIL(&call->pieces, piece, entry);
	if (call->next == NULL) {
		call->next = piece;
	}
	wake(call);
}

void
http2_call_end(struct http2_call *call)
{
	call->has_ended = true;
	wake(call);
}

void
http2_call_let_go(struct http2_call *call)
{
	call->keeps_pieces = false;
	if (!call->waits) { /* else nothing has been sent yet */
		release_pieces(call, call->connection == NULL ? NULL : call->next);
	}
}

void
http2_call_consume(struct http2_call *call, size_t length)
{
	if (call->connection != NULL) {
		(void)nghttp2_session_consume_stream(call->connection->session, call->stream, length);
		http2_connection_touch(call->connection);
	}
}

void
http2_call_cancel(struct http2_call *call)
{
	struct http2_connection *connection = call->connection;

	if (call->waits) {
		TAILQ_REMOVE(&call->client->again, call, entry);
	} else {
		(void)nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_CANCEL);
		http2_connection_touch(connection);
		http2_call_detach(call);
	}
	release_pieces(call, NULL);
	arena_fini(&call->arena);
}
