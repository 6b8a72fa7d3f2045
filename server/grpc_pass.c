#include "server/grpc_pass.h"

#include "base/container_of.h"
#include "base/log.h"
#include "base/memory.h"
#include "grpc/status.h"
#include "inference/models/model_table.h"
#include "server/front.h"
#include "server/grpc_request_head.h"
#include "upstream/grpc_upstream.h"
#include "upstream/via.h"
#include "wire/http1.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)1 << 20)
/* At so many bytes that wait to be sent behind, no more messages are read of a stream. */
#define WAITING_MAX ((size_t)1 << 20)
#define READY_TIMEOUT_MS 3000

struct grpc_pass {
	struct grpc_upstream_call call; /* first */
	struct grpc_call *client;	/* NULL: it has left, or has its answer */
	struct server_lane *lane;
	unsigned references; /* one while the call is under way, one of each chunk */
	struct arena arena;
	struct bytes cache_status; /* of the response; empty: none */
	struct loop_timer *ready;  /* of readiness, which is not waited for long; else NULL */
	uint64_t http_status;	   /* of the response; 0: none has come */
	bool has_status;	   /* the response is its trailers alone: */
	enum grpc_code code;
	struct bytes text;
	bool is_half_closed;
	bool is_stopping; /* the server stops: no more than one message is sent behind */
	bool is_cut;	  /* the request was ended there before its client has */
	bool has_lost;	  /* a message that came later */
	bool is_paused;
	size_t waiting; /* bytes of messages that have not been sent behind */
	size_t message_count;
};

/* --- Life --- */

static void
unref(struct grpc_pass *pass)
{
	if (--pass->references == 0) {
		loop_timer_free(pass->ready);
		arena_fini(&pass->arena);
		free(pass);
	}
}

/* The client's call, which then belongs to nobody; NULL: it has left. */
static struct grpc_call *
let_go(struct grpc_pass *pass)
{
	struct grpc_call *client = pass->client;

	pass->client = NULL;
	if (client != NULL) {
		grpc_call_set_state(client, NULL);
	}
	return client;
}

/* The call behind is over. */
static void
end(struct grpc_pass *pass)
{
	struct server_lane *lane = pass->lane;

	unref(pass);
	server_lane_release(lane);
}

static void
cancel(struct grpc_pass *pass)
{
	grpc_upstream_call_cancel(&pass->call);
	end(pass);
}

/* Ends both calls with a status of our own. */
static void
fail(struct grpc_pass *pass, enum grpc_code code, const char *text)
{
	struct grpc_call *client = let_go(pass);

	if (client != NULL) {
		grpc_call_finish(client, code, bytes_text(text));
	}
	cancel(pass);
}

/* --- The response --- */

/* A part of it on its way to the client. */
struct chunk {
	struct grpc_output output; /* first */
	struct grpc_pass *pass;
	struct bytes piece;
	uint8_t data[];
};

static void
on_chunk_released(struct grpc_output *output)
{
	struct chunk *chunk = (struct chunk *)output;

	http2_call_consume(&chunk->pass->call.http2, chunk->piece.length);
	budget_give(chunk->pass->lane->budget, sizeof(*chunk) + chunk->piece.length);
	unref(chunk->pass);
	free(chunk);
}

static void
add_metadata(struct grpc_pass *pass, const struct http2_field *fields, size_t count,
	     void (*add)(struct grpc_call *call, const char *name, struct bytes value))
{
	for (size_t i = 0; i < count && pass->client != NULL; i++) {
		struct bytes name = arena_copy(&pass->arena, fields[i].name); /* with a NUL */

		if (grpc_is_metadata(fields[i].name) && name.at != NULL) {
			add(pass->client, (const char *)name.at, fields[i].value);
		}
	}
}

/* Takes the status and the metadata of trailers. False: they have no status. */
static bool
take_trailers(struct grpc_pass *pass, const struct http2_field *fields, size_t count)
{
	bool found = http2_field_status(fields, count, &pass->code);

	pass->text = arena_copy(&pass->arena, http2_field_find(fields, count, "grpc-message"));
	if (found) {
		add_metadata(pass, fields, count, grpc_call_add_trailer);
	}
	return found;
}

static void
take_head(struct grpc_pass *pass, const struct http2_field *fields, size_t count)
{
	struct bytes field = http2_field_find(fields, count, "grpc-encoding");
	enum coding coding = field.at == NULL ? CODING_IDENTITY : coding_from_name(field);
	enum coding sent;

	if (grpc_call_has_sent_headers(pass->client, &sent)) { /* of a stream that was answered here before */
		if (coding != CODING_IDENTITY && coding != sent) {
			fail(pass, GRPC_INTERNAL, "upstream: the server compresses in a way that it was not offered");
		}
		return;
	}
	add_metadata(pass, fields, count, grpc_call_add_header);
	if (coding == CODING_UNKNOWN) {
		grpc_call_add_header(pass->client, "grpc-encoding", field);
		coding = CODING_IDENTITY;
	}
	grpc_call_set_coding(pass->client, coding);
	grpc_call_add_header(pass->client, "via", bytes_text(VIA_GRPC));
	if (pass->cache_status.length > 0) {
		grpc_call_add_header(pass->client, "cache-status", pass->cache_status);
	}
	grpc_call_send_headers(pass->client);
}

static void
on_head(struct grpc_upstream_call *call, const struct http2_field *fields, size_t count, bool ends)
{
	struct grpc_pass *pass = (struct grpc_pass *)call;

	(void)http1_number(http2_field_find(fields, count, ":status"), &pass->http_status);
	if (pass->http_status != 200) { /* no answer of gRPC */
		return;
	}
	pass->has_status = ends && take_trailers(pass, fields, count);
	if (pass->has_status) {
		return;
	}
	if (pass->client != NULL) {
		take_head(pass, fields, count);
	}
}

static void
on_body(struct http2_call *http2, struct bytes part)
{
	struct grpc_pass *pass = (struct grpc_pass *)http2;
	struct chunk *chunk;

	if (pass->client == NULL || pass->http_status != 200 || part.length == 0) {
		http2_call_consume(http2, part.length);
		return;
	}
	if (!budget_take(pass->lane->budget, sizeof(*chunk) + part.length)) {
		fail(pass, GRPC_RESOURCE_EXHAUSTED,
		     "the responses in flight have used up the memory that they may take together: try again later");
		return;
	}
	chunk = memory_room(sizeof(*chunk) + part.length);
	memcpy(chunk->data, part.at, part.length);
	chunk->piece = bytes_make(chunk->data, part.length);
	chunk->pass = pass;
	chunk->output = (struct grpc_output){
		.pieces = &chunk->piece, .count = 1, .is_raw = true, .released = on_chunk_released};
	pass->references++;
	grpc_call_send(pass->client, &chunk->output);
}

/* The server could not be reached, or has no status. */
static void
finish_failed(struct grpc_pass *pass, enum http2_outcome outcome, const char *why)
{
	struct grpc_call *client = let_go(pass);
	char text[600];
	enum grpc_code code = GRPC_UNAVAILABLE;

	if (outcome == HTTP2_DONE) {
		code = grpc_code_of_http((int)pass->http_status);
		(void)snprintf(text, sizeof(text), "upstream: HTTP status %" PRIu64 " and no grpc-status",
			       pass->http_status);
	} else {
		code = outcome == HTTP2_RESET ? grpc_code_of_reset(pass->call.http2.error_code) : code;
		(void)snprintf(text, sizeof(text), "upstream %s", why);
	}
	log_verbose("%s", text);
	if (client != NULL) {
		grpc_call_finish(client, code, bytes_text(text));
	}
}

/* Readiness that the server behind did not tell: see handle_front_ready. False: it is not asked for, or not known. */
static bool
says_ready(struct grpc_pass *pass)
{
	struct bytes path = pass->client == NULL ? bytes_make(NULL, 0) : grpc_call_path(pass->client);
	void (*own)(struct grpc_call *, struct grpc_message) =
		bytes_equal_text(path, GRPC_SERVER_READY)   ? grpc_server_ready
		: bytes_equal_text(path, GRPC_HEALTH_CHECK) ? grpc_health_check
							    : NULL;

	if (own == NULL || pass->http_status != 0 || pass->lane->options->readiness != FRONT_READY_EITHER ||
	    server_lane_table(pass->lane)->count == 0) {
		return false;
	}
	own(let_go(pass), (struct grpc_message){0});
	return true;
}

static void
on_ready_timeout(void *argument)
{
	struct grpc_pass *pass = argument;

	if (pass->client == NULL) {
		return;
	}
	if (says_ready(pass)) {
		cancel(pass);
	} else {
		fail(pass, GRPC_DEADLINE_EXCEEDED, "upstream: the server is silent");
	}
}

static void
finish(struct grpc_pass *pass)
{
	struct grpc_call *client = let_go(pass);

	if (client == NULL) {
		return;
	}
	if (pass->has_lost || (pass->is_cut && !pass->is_half_closed)) {
		grpc_call_finish(client, GRPC_UNAVAILABLE,
				 bytes_text("the server stops: open another stream elsewhere"));
	} else {
		grpc_call_finish_encoded(client, pass->code, pass->text);
	}
}

static void
on_done(struct grpc_upstream_call *call, enum http2_outcome outcome, const struct http2_field *trailers, size_t count,
	const char *why)
{
	struct grpc_pass *pass = (struct grpc_pass *)call;
	bool good = outcome == HTTP2_DONE && pass->http_status == 200 &&
		    (pass->has_status || take_trailers(pass, trailers, count));

	if (good) {
		finish(pass);
	} else if (outcome == HTTP2_DONE || !says_ready(pass)) {
		finish_failed(pass, outcome, why);
	}
	end(pass);
}

/* --- The request --- */

/* A message on its way to the server behind. */
struct pass_message {
	struct http2_piece prefix;
	struct http2_piece content;
	struct grpc_pass *pass;
	struct grpc_message message;
	uint8_t bytes[5];
};

static void
on_prefix_released(struct http2_piece *piece)
{
	(void)piece; /* its content is released next */
}

static void
on_content_released(struct http2_piece *piece)
{
	struct pass_message *sent = container_of(piece, struct pass_message, content);
	struct grpc_pass *pass = sent->pass;

	pass->waiting -= sizeof(*sent) + sent->message.content.length;
	if (pass->is_paused && pass->client != NULL && pass->waiting <= WAITING_MAX / 2) {
		pass->is_paused = false;
		grpc_call_resume(pass->client);
	}
	grpc_message_release(&sent->message);
	free(sent);
}

/* Ends the request behind before its client has. */
static void
cut(struct grpc_pass *pass)
{
	if (!pass->is_cut && !pass->is_half_closed) {
		pass->is_cut = true;
		http2_call_end(&pass->call.http2);
	}
}

/* The first message is kept until the response begins, so that another replica can have it. */
void
grpc_pass_message(struct grpc_pass *pass, struct grpc_message message)
{
	struct pass_message *sent;
	size_t length = message.content.length;

	if (pass->is_stopping && pass->message_count > 0) {
		cut(pass);
		pass->has_lost = true;
		grpc_message_release(&message);
		return;
	}
	sent = memory_new(sizeof(*sent));
	*sent = (struct pass_message){
		.pass = pass,
		.message = message,
		.bytes = {0, (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length},
	};
	sent->prefix = (struct http2_piece){.bytes = bytes_make(sent->bytes, sizeof(sent->bytes)),
					    .released = on_prefix_released};
	sent->content = (struct http2_piece){.bytes = message.content, .released = on_content_released};
	pass->message_count++;
	pass->waiting += sizeof(*sent) + length;
	http2_call_send(&pass->call.http2, &sent->prefix);
	http2_call_send(&pass->call.http2, &sent->content);
	if (pass->message_count > 1 && pass->waiting > WAITING_MAX && !pass->is_paused && pass->client != NULL) {
		pass->is_paused = true;
		grpc_call_pause(pass->client);
	}
}

void
grpc_pass_half_close(struct grpc_pass *pass)
{
	if (!pass->is_cut) {
		http2_call_end(&pass->call.http2);
	}
	pass->is_half_closed = true;
}

/* A request whose first message has not come may be on its way, of a method that takes one: its client will end it. */
void
grpc_pass_stop(struct grpc_pass *pass)
{
	pass->is_stopping = true;
	if (bytes_equal_text(grpc_call_path(pass->client), GRPC_HEALTH_WATCH)) { /* would go on for ever */
		fail(pass, GRPC_UNAVAILABLE, "the server stops");
	} else if (pass->message_count > 0) {
		cut(pass);
	}
}

/* A call that changes nothing may be sent to another replica. */
static bool
is_safe(struct bytes path)
{
	static const char *const paths[] = {
		GRPC_SERVICE "ServerLive",
		GRPC_SERVER_READY,
		GRPC_SERVICE "ModelReady",
		GRPC_SERVICE "ServerMetadata",
		GRPC_SERVICE "ModelMetadata",
		GRPC_SERVICE "ModelConfig",
		GRPC_SERVICE "ModelStatistics",
		GRPC_SERVICE "RepositoryIndex",
		GRPC_HEALTH_CHECK,
		GRPC_HEALTH "List",
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (bytes_equal_text(path, paths[i])) {
			return true;
		}
	}
	return false;
}

/* A probe is to have its answer soon. */
static void
limit_readiness(struct grpc_pass *pass)
{
	struct bytes path = grpc_call_path(pass->client);

	if (bytes_equal_text(path, GRPC_SERVER_READY) || bytes_equal_text(path, GRPC_HEALTH_CHECK)) {
		pass->ready = loop_timer_new(pass->lane->loop, on_ready_timeout, pass);
		loop_timer_set(pass->ready, READY_TIMEOUT_MS);
	}
}

static const struct grpc_method passing;

struct grpc_pass *
grpc_pass_begin(struct grpc_call *call, enum pass_reason reason)
{
	struct grpc_pass *pass = memory_new(sizeof(*pass));
	struct http2_call *http2 = &pass->call.http2;

	pass->client = call;
	pass->lane = grpc_lane_of(call);
	pass->references = 1;
	pass->cache_status = pass_reason_count(pass->lane->passes, reason);
	arena_init(&pass->arena, ARENA_MAX);
	http2->fields = grpc_request_head(call, true, &pass->arena, &http2->field_count);
	if (http2->fields == NULL) {
		grpc_call_set_state(call, NULL);
		grpc_call_finish(call, GRPC_FAILED_PRECONDITION,
				 bytes_text("the call came through here before: --upstream leads in a circle"));
		unref(pass);
		return NULL;
	}
	http2->kept = 2; /* one message */
	http2->on_body = on_body;
	pass->call.on_head = on_head;
	pass->call.done = on_done;
	pass->call.is_repeatable = is_safe(grpc_call_path(call));
	grpc_call_hand_over(call, &passing);
	grpc_call_set_state(call, pass);
	server_lane_hold(pass->lane);
	limit_readiness(pass);
	grpc_upstream_call_start(pass->lane->grpc_upstream, &pass->call);
	return pass;
}

void
grpc_pass_unary(struct grpc_call *call, struct grpc_message message, enum pass_reason reason)
{
	struct grpc_pass *pass = grpc_pass_begin(call, reason);

	if (pass == NULL) {
		grpc_message_release(&message);
	} else {
		grpc_pass_message(pass, message);
		grpc_pass_half_close(pass);
	}
}

/* --- Methods --- */

static void
on_message(struct grpc_call *call, struct grpc_message message)
{
	grpc_pass_message(grpc_call_state(call), message);
}

static void
on_half_close(struct grpc_call *call)
{
	grpc_pass_half_close(grpc_call_state(call));
}

static void
on_cancelled(struct grpc_call *call)
{
	struct grpc_pass *pass = grpc_call_state(call);

	pass->client = NULL;
	cancel(pass);
}

static void
on_stopping(struct grpc_call *call)
{
	grpc_pass_stop(grpc_call_state(call));
}

static const struct grpc_method passing = {
	.is_client_streaming = true,
	.message = on_message,
	.half_close = on_half_close,
	.cancelled = on_cancelled,
	.stopping = on_stopping,
};
