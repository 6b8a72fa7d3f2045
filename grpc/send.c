/* Responses: header fields, messages and trailers, as nghttp2 asks for them. */
#include "base/memory.h"
#include "grpc/field.h"
#include "grpc/internal.h"
#include "grpc/output.h"

#include <stdlib.h>

/* Longer pieces are referred to, not copied. */
#define COPIED_MAX ((size_t)1024)
/* The longest DATA frame. */
#define DATA_MAX ((size_t)32 * 1024)

/* A field whose name and value nghttp2 need not copy: both live until the stream is closed. */
static nghttp2_nv
field(const char *name, struct bytes value)
{
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
			    .namelen = strlen(name),
			    .value = (uint8_t *)(uintptr_t)value.at,
			    .valuelen = value.length,
			    .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

/* Appends a field to a list in the call's arena. Room is left for the protocol's own fields. */
#define OWN_FIELDS 4

static void
add_field(struct grpc_call *call, nghttp2_nv **list, size_t *count, size_t *capacity, const char *name,
	  struct bytes value)
{
	struct bytes name_copy = arena_copy(&call->arena, bytes_text(name));
	struct bytes value_copy = arena_copy(&call->arena, value);

	if (*count + OWN_FIELDS >= *capacity) {
		size_t more = *capacity == 0 ? 2 * OWN_FIELDS : 2 * *capacity;
		nghttp2_nv *larger = arena_array(&call->arena, more, sizeof(*larger));

		if (larger == NULL) {
			return;
		}
		if (*count > 0) {
			memcpy(larger, *list, *count * sizeof(*larger));
		}
		*list = larger;
		*capacity = more;
	}
	if (name_copy.at != NULL && value_copy.at != NULL) {
		(*list)[(*count)++] = field((const char *)name_copy.at, value_copy);
	}
}

void
grpc_call_add_header(struct grpc_call *call, const char *name, struct bytes value)
{
	add_field(call, &call->headers, &call->header_count, &call->header_capacity, name, value);
}

void
grpc_call_add_trailer(struct grpc_call *call, const char *name, struct bytes value)
{
	add_field(call, &call->trailers, &call->trailer_count, &call->trailer_capacity, name, value);
}

void
grpc_call_set_coding(struct grpc_call *call, enum coding coding)
{
	call->reply_coding = coding;
}

/* nghttp2 refuses only for want of memory. The client must not wait for what never comes. */
static void
break_if(const struct grpc_call *call, int failure)
{
	if (failure != 0) {
		call->connection->is_broken = true;
	}
}

/* --- Header fields --- */

/* Submits :status, content-type and the fields of `extra`; with `data`, messages follow, else the stream ends. */
static void
submit_response(struct grpc_call *call, const nghttp2_nv *extra, size_t count, bool data)
{
	nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = send_read};
	nghttp2_nv fallback[OWN_FIELDS];
	nghttp2_nv *list = fallback;
	size_t at = 0;

	if (count > 0) {
		list = arena_array(&call->arena, count + OWN_FIELDS, sizeof(*list));
		if (list == NULL) {
			list = fallback;
			count = 0;
		}
	}
	list[at++] = field(":status", bytes_text("200"));
	list[at++] = field("content-type", bytes_text("application/grpc"));
	if (data && call->reply_coding != CODING_IDENTITY) {
		list[at++] = field("grpc-encoding", bytes_text(coding_name(call->reply_coding)));
	}
	list[at++] = field("grpc-accept-encoding", bytes_text("identity,deflate,gzip"));
	if (count > 0) {
		memcpy(list + at, extra, count * sizeof(*list));
	}
	call->has_headers = true;
	break_if(call, nghttp2_submit_response(call->connection->session, call->stream, list, at + count,
					       data ? &provider : NULL));
}

/* Writes the trailers' own fields, grpc-status and grpc-message, behind those in `list`; returns the count of all. */
static size_t
status_fields(struct grpc_call *call, nghttp2_nv *list, size_t count)
{
	static const char *const codes[] = {"0", "1",  "2",  "3",  "4",	 "5",  "6",  "7", "8",
					    "9", "10", "11", "12", "13", "14", "15", "16"};

	list[count++] = field("grpc-status", bytes_text(codes[call->code]));
	if (call->text.length > 0) {
		struct bytes text = call->is_encoded ? call->text : grpc_message_encode(call->text, &call->arena);

		if (text.length > 0) {
			list[count++] = field("grpc-message", text);
		}
	}
	return count;
}

/* The response is its trailers alone, in one HEADERS frame ("Trailers-Only"). */
static void
submit_trailers_only(struct grpc_call *call)
{
	nghttp2_nv own[OWN_FIELDS];
	size_t count = call->header_count + call->trailer_count;
	nghttp2_nv *list = count == 0 ? own : arena_array(&call->arena, count + OWN_FIELDS, sizeof(*list));

	if (list == NULL) {
		list = own;
		count = 0;
	} else if (count > 0) {
		if (call->header_count > 0) {
			memcpy(list, call->headers, call->header_count * sizeof(*list));
		}
		if (call->trailer_count > 0) {
			memcpy(list + call->header_count, call->trailers, call->trailer_count * sizeof(*list));
		}
	}
	submit_response(call, list, status_fields(call, list, count), false);
}

static void
submit_trailers(struct grpc_call *call)
{
	nghttp2_nv own[OWN_FIELDS];
	nghttp2_nv *list = call->trailer_count > 0 ? call->trailers : own; /* has room for OWN_FIELDS more */

	break_if(call, nghttp2_submit_trailer(call->connection->session, call->stream, list,
					      status_fields(call, list, call->trailer_count)));
}

static void
wake(struct grpc_call *call)
{
	if (call->is_deferred) {
		call->is_deferred = false;
		(void)nghttp2_session_resume_data(call->connection->session, call->stream);
	}
}

void
send_finish(struct grpc_call *call)
{
	if (call->has_headers) {
		wake(call);
	} else if (STAILQ_EMPTY(&call->outputs)) {
		submit_trailers_only(call);
	}
}

/* --- Messages --- */

static void
write_prefix(struct grpc_output *output)
{
	size_t length = output->total - GRPC_PREFIX_SIZE;

	output->prefix_length = GRPC_PREFIX_SIZE;
	output->prefix[0] = output->is_compressed ? 1 : 0;
	output->prefix[1] = (uint8_t)(length >> 24);
	output->prefix[2] = (uint8_t)(length >> 16);
	output->prefix[3] = (uint8_t)(length >> 8);
	output->prefix[4] = (uint8_t)length;
}

void
grpc_call_send(struct grpc_call *call, struct grpc_output *output)
{
	output->references = 1;
	output->total = output->is_raw ? 0 : GRPC_PREFIX_SIZE;
	for (size_t i = 0; i < output->count; i++) {
		output->total += output->pieces[i].length;
	}
	if (!output->is_raw) {
		write_prefix(output);
	}
	if (call->unsent == 0) {
		call->sent_tick = call->connection->lane->ticks;
	}
	STAILQ_INSERT_TAIL(&call->outputs, output, entry);
	call->output_count++;
	call->unsent += output->total;
	if (!call->has_headers) {
		submit_response(call, call->headers, call->header_count, true);
	} else {
		wake(call);
	}
	connection_touch(call->connection);
}

struct text_output {
	struct grpc_output output; /* first */
	struct bytes piece;
	struct buf text;
};

static void
free_text(struct grpc_output *output)
{
	struct text_output *text = (struct text_output *)output;

	buf_fini(&text->text);
	free(text);
}

void
grpc_call_send_text(struct grpc_call *call, const struct buf *text, bool is_compressed)
{
	struct text_output *output = memory_new(sizeof(*output));

	output->text = *text;
	output->piece = buf_bytes(text);
	output->output = (struct grpc_output){
		.pieces = &output->piece, .count = 1, .is_compressed = is_compressed, .released = free_text};
	grpc_call_send(call, &output->output);
}

void
grpc_call_send_headers(struct grpc_call *call)
{
	if (!call->has_headers) {
		submit_response(call, call->headers, call->header_count, true);
		connection_touch(call->connection);
	}
}

size_t
grpc_call_unsent(const struct grpc_call *call)
{
	return call->unsent;
}

/* Then no more messages are delivered: methods answer most of them, and the client takes no answer. */
#define OUTPUTS_MAX 64
#define UNSENT_MAX ((size_t)1 << 20)

bool
send_is_backed_up(const struct grpc_call *call, size_t part)
{
	return call->output_count >= OUTPUTS_MAX / part || call->unsent >= UNSENT_MAX / part;
}

void
send_drop(struct grpc_call *call)
{
	while (!STAILQ_EMPTY(&call->outputs)) {
		struct grpc_output *output = STAILQ_FIRST(&call->outputs);

		STAILQ_REMOVE_HEAD(&call->outputs, entry);
		output_unref(output);
	}
	call->unsent = 0;
}

ssize_t
send_read(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t length, uint32_t *flags,
	  nghttp2_data_source *source, void *user)
{
	struct grpc_call *call = source->ptr;
	size_t taken = call->unsent < length ? call->unsent : length;

	(void)session;
	(void)stream;
	(void)buf;
	(void)user;
	if (taken == 0 && !call->is_finished) {
		call->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (taken == call->unsent && call->is_finished) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		submit_trailers(call);
	}
	return (ssize_t)taken;
}

ssize_t
send_length(nghttp2_session *session, uint8_t frame_type, int32_t stream, int32_t connection_window,
	    int32_t stream_window, uint32_t frame_max, void *user)
{
	size_t window = (size_t)(connection_window < stream_window ? connection_window : stream_window);
	size_t most = frame_max < DATA_MAX ? frame_max : DATA_MAX;

	(void)session;
	(void)frame_type;
	(void)stream;
	(void)user;
	return (ssize_t)(window < most ? window : most);
}

/* The prefix is piece 0. */
static struct bytes
piece_of(const struct grpc_output *output, size_t i)
{
	return i == 0 ? bytes_make(output->prefix, output->prefix_length) : output->pieces[i - 1];
}

/* Puts `length` bytes of the output into the chain, from `skip` on. */
static void
put_output(struct chain *out, struct grpc_output *output, size_t skip, size_t length)
{
	for (size_t i = 0; i <= output->count && length > 0; i++) {
		struct bytes piece = piece_of(output, i);

		if (skip >= piece.length) {
			skip -= piece.length;
			continue;
		}
		piece = bytes_skip(piece, skip);
		skip = 0;
		if (piece.length > length) {
			piece.length = length;
		}
		length -= piece.length;
		if (piece.length > COPIED_MAX) {
			chain_refer(out, piece, output);
		} else {
			chain_copy(out, piece);
		}
	}
}

/*
 * The most segments that the next `length` bytes take: one for what is copied at first, and for each piece that is
 * referred to, itself and what is copied behind it. An empty chain has room for any frame, else it would never be sent.
 */
_Static_assert(1 + 2 * (DATA_MAX / (COPIED_MAX + 1)) <= CHAIN_SEGMENTS, "a DATA frame fits into an empty chain");

static size_t
segments_of(const struct grpc_call *call, size_t length)
{
	const struct grpc_output *output = STAILQ_FIRST(&call->outputs);
	size_t skip = call->output_sent;
	size_t segments = 1;

	while (length > 0) {
		for (size_t i = 0; i <= output->count && length > 0; i++) {
			size_t size = piece_of(output, i).length;
			size_t skipped = skip < size ? skip : size;
			size_t taken = size - skipped < length ? size - skipped : length;

			skip -= skipped;
			length -= taken;
			segments += taken > COPIED_MAX ? 2 : 0;
		}
		output = STAILQ_NEXT(output, entry);
	}
	return segments;
}

int
send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
	  nghttp2_data_source *source, void *user)
{
	struct grpc_call *call = source->ptr;
	struct chain *out = &call->connection->out;

	(void)session;
	(void)frame;
	(void)user;
	if (!chain_has_room(out, 9 + length, segments_of(call, length))) {
		return NGHTTP2_ERR_WOULDBLOCK;
	}
	call->sent_tick = call->connection->lane->ticks;
	call->unsent -= length;
	chain_copy(out, bytes_make(head, 9));
	while (length > 0) {
		struct grpc_output *output = STAILQ_FIRST(&call->outputs);
		size_t left = output->total - call->output_sent;
		size_t now = left < length ? left : length;

		put_output(out, output, call->output_sent, now);
		length -= now;
		call->output_sent += now;
		if (now == left) {
			STAILQ_REMOVE_HEAD(&call->outputs, entry);
			call->output_sent = 0;
			call->output_count--;
			output_unref(output);
		}
	}
	if (call->is_backed_up && !send_is_backed_up(call, 2)) {
		call->is_backed_up = false;
		call_resume_later(call);
	}
	return 0;
}

/* --- For clients that do not speak gRPC --- */

static ssize_t
read_plain(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t length, uint32_t *flags,
	   nghttp2_data_source *source, void *user)
{
	struct grpc_call *call = source->ptr;
	size_t taken = call->plain_body.length < length ? call->plain_body.length : length;

	(void)session;
	(void)stream;
	(void)user;
	memcpy(buf, call->plain_body.at, taken);
	call->plain_body = bytes_skip(call->plain_body, taken);
	if (call->plain_body.length == 0) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	return (ssize_t)taken;
}

void
send_plain(struct grpc_call *call, int http_status, const char *text)
{
	nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = read_plain};
	const nghttp2_nv list[] = {field(":status", bytes_text(http_status == 405 ? "405" : "415")),
				   field("content-type", bytes_text("text/plain")), field("allow", bytes_text("POST"))};

	call->has_headers = true;
	call->is_finished = true;
	call->sent_tick = call->connection->lane->ticks;
	call->plain_body = bytes_text(text);
	(void)nghttp2_submit_response(call->connection->session, call->stream, list, http_status == 405 ? 3 : 2,
				      &provider);
	connection_touch(call->connection);
}
