/* One call: its body, and its end. */
#include "base/memory.h"
#include "upstream/http2_internal.h"

#include <stdlib.h>

static nghttp2_nv
pair(struct http2_field field)
{
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)field.name.at,
			    .namelen = field.name.length,
			    .value = (uint8_t *)(uintptr_t)field.value.at,
			    .valuelen = field.value.length};
}

void
http2_call_submit(struct http2_call *call)
{
	struct http2_connection *connection = call->connection;
	const struct upstream_url *url = connection->client->options->url;
	nghttp2_data_provider provider = {.read_callback = http2_call_read};
	nghttp2_nv *list = memory_array(call->field_count + 2, sizeof(*list));

	list[0] = pair((struct http2_field){bytes_text(":scheme"), bytes_text(url->tls ? "https" : "http")});
	list[1] = pair((struct http2_field){bytes_text(":authority"), bytes_text(url->authority)});
	for (size_t i = 0; i < call->field_count; i++) {
		list[i + 2] = pair(call->fields[i]);
	}
	call->stream = nghttp2_submit_request(connection->session, NULL, list, call->field_count + 2, &provider, call);
	memory_check(call->stream > 0); /* http2_client.c has seen to all else */
	free(list);
}

void
http2_call_detach(struct http2_call *call)
{
	struct http2_connection *connection = call->connection;

	if (call->stream > 0) {
		(void)nghttp2_session_set_stream_user_data(connection->session, call->stream, NULL);
	}
	TAILQ_REMOVE(&connection->calls, call, entry);
	connection->call_count--;
	connection->used_tick = connection->client->ticks;
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
	size_t count = call->has_head ? call->received_count : 0;
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
http2_call_again(struct http2_call *call)
{
	struct http2_client *client = call->client;

	http2_call_detach(call);
	arena_fini(&call->arena);
	http2_call_clear(call);
	call->waits = true;
	TAILQ_INSERT_TAIL(&client->again, call, entry);
	loop_task_set(client->flush_task);
}

void
http2_call_fail(struct http2_call *call, enum http2_outcome outcome, const char *why)
{
	bool again = call->connection->was_used && call->connection->is_over && !call->has_head && call->keeps_pieces &&
		     (outcome != HTTP2_BROKEN || call->repeatable);

	if (again) {
		http2_call_again(call);
	} else {
		http2_call_finish(call, outcome, why);
	}
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
			call->sent_count++;
		}
	}
	call->keeps_pieces = call->keeps_pieces && call->sent_count <= call->kept;
	if (!call->keeps_pieces) {
		release_pieces(call, call->next);
	}
	if (call->next == NULL && call->has_ended) {
		call->has_sent_end = true;
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
	if (call->connection != NULL && call->stream > 0) {
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
		if (call->stream > 0) {
			(void)nghttp2_submit_rst_stream(connection->session, NGHTTP2_FLAG_NONE, call->stream,
							NGHTTP2_CANCEL);
			http2_connection_touch(connection);
		}
		http2_call_detach(call);
	}
	release_pieces(call, NULL);
	arena_fini(&call->arena);
}
