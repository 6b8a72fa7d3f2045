#include "server/grpc_pass.h"

#include "base/container_of.h"
#include "base/log.h"
#include "base/memory.h"
#include "grpc/status.h"
#include "inference/models/model_table.h"
#include "server/front.h"
#include "upstream/grpc_upstream.h"
#include "wire/http1.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)1 << 20)
#define OWN_FIELDS 7 /* of the protocol, and via */
/* At so many bytes that wait to be sent behind, no more messages are read of a stream. */
#define WAITING_MAX ((size_t)1 << 20)

struct grpc_pass {
	struct grpc_upstream_call call; /* first */
	struct grpc_call *client;	/* NULL: it has left, or has its answer */
	struct server_lane *lane;
	unsigned references; /* one while the call is under way, one of each chunk */
	struct arena arena;
	struct http2_field *fields;
	size_t field_count;
	bool controls;	      /* loads or unloads a model */
	bool is_silent;	      /* the response so far is nothing of a server of gRPC, so that there is nothing to send */
	uint64_t http_status; /* of the response; 0: none has come */
	bool has_status;      /* the response is its trailers alone: */
	enum grpc_code code;
	struct bytes text;
	bool is_half_closed;
	bool is_stopping; /* the server stops */
	bool is_paused;
	size_t waiting; /* bytes of messages that have not been sent behind */
	size_t message_count;
};

/* --- Life --- */

static void
unref(struct grpc_pass *pass)
{
	if (--pass->references == 0) {
		arena_fini(&pass->arena);
		free(pass->fields);
		free(pass);
	}
}

/* Ends the client's call, which then belongs to nobody. */
static void
finish(struct grpc_pass *pass, enum grpc_code code, struct bytes text)
{
	struct grpc_call *client = pass->client;

	pass->client = NULL;
	if (client != NULL) {
		grpc_call_set_state(client, NULL);
		grpc_call_finish(client, code, text);
	}
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
	unref(chunk->pass);
	free(chunk);
}

static struct bytes
find(const struct http2_field *fields, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes_equal_text(fields[i].name, name)) {
			return fields[i].value;
		}
	}
	return bytes_make(NULL, 0);
}

/* Metadata, which is the client's; the protocol's own fields are ours to write. */
static bool
is_metadata(struct bytes name)
{
	static const char *const own[] = {"content-type", "grpc-encoding", "grpc-accept-encoding", "grpc-status",
					  "grpc-message"};

	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++) {
		if (bytes_equal_text(name, own[i])) {
			return false;
		}
	}
	return name.length > 0 && *name.at != ':';
}

/* Takes the status and the metadata of trailers. False: they have no status. */
static bool
take_trailers(struct grpc_pass *pass, const struct http2_field *fields, size_t count)
{
	struct bytes status = find(fields, count, "grpc-status");

	if (status.at == NULL) {
		return false;
	}
	pass->has_status = true;
	pass->code = grpc_status_read(status);
	pass->text = grpc_message_decode(find(fields, count, "grpc-message"), &pass->arena);
	for (size_t i = 0; i < count && pass->client != NULL; i++) {
		if (is_metadata(fields[i].name)) {
			struct bytes name = arena_copy(&pass->arena, fields[i].name);

			grpc_call_add_trailer(pass->client, name.at == NULL ? "" : (const char *)name.at,
					      fields[i].value);
		}
	}
	return true;
}

static void
take_head(struct grpc_pass *pass, const struct http2_field *fields, size_t count)
{
	struct bytes coding = find(fields, count, "grpc-encoding");

	for (size_t i = 0; i < count; i++) {
		if (is_metadata(fields[i].name)) {
			struct bytes name = arena_copy(&pass->arena, fields[i].name);

			grpc_call_add_header(pass->client, name.at == NULL ? "" : (const char *)name.at,
					     fields[i].value);
		}
	}
	if (coding.at != NULL && coding_from_name(coding) == CODING_UNKNOWN) {
		grpc_call_add_header(pass->client, "grpc-encoding", coding);
	} else if (coding.at != NULL) {
		grpc_call_set_coding(pass->client, coding_from_name(coding));
	}
	grpc_call_add_header(pass->client, "via", bytes_text(GRPC_VIA));
	grpc_call_send_headers(pass->client);
}

/* Did the server refuse to load or unload a model, so that it has the same ones as before? */
static bool
is_refusal(const struct grpc_pass *pass)
{
	return pass->has_status && (pass->code == GRPC_INVALID_ARGUMENT || pass->code == GRPC_NOT_FOUND ||
				    pass->code == GRPC_PERMISSION_DENIED || pass->code == GRPC_UNIMPLEMENTED ||
				    pass->code == GRPC_UNAVAILABLE || pass->code == GRPC_UNAUTHENTICATED);
}

static void
on_head(struct grpc_upstream_call *call, const struct http2_field *fields, size_t count)
{
	struct grpc_pass *pass = (struct grpc_pass *)call;
	bool is_grpc = bytes_starts_with(find(fields, count, "content-type"), "application/grpc");

	(void)http1_number(find(fields, count, ":status"), &pass->http_status);
	pass->is_silent = pass->http_status != 200 || !is_grpc || take_trailers(pass, fields, count);
	if (!pass->is_silent && pass->controls) { /* before the client hears of it */
		front_suspend_models(pass->lane);
	}
	if (!pass->is_silent && pass->client != NULL) {
		take_head(pass, fields, count);
	}
}

static void
on_body(struct http2_call *http2, struct bytes part)
{
	struct grpc_pass *pass = (struct grpc_pass *)http2;
	struct chunk *chunk;

	if (pass->client == NULL || pass->is_silent || part.length == 0) {
		http2_call_consume(http2, part.length);
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
	char text[600];
	enum grpc_code code;

	if (outcome == HTTP2_DONE) {
		code = grpc_code_of_http((int)pass->http_status);
		(void)snprintf(text, sizeof(text), "upstream: HTTP status %" PRIu64 " and no grpc-status",
			       pass->http_status);
	} else {
		code = outcome == HTTP2_RESET ? grpc_code_of_reset(pass->call.http2.error_code) : GRPC_UNAVAILABLE;
		(void)snprintf(text, sizeof(text), "upstream %s", why);
	}
	log_verbose("%s", text);
	finish(pass, code, bytes_text(text));
}

/* Readiness that the server behind cannot be asked for: see handle_front_ready. */
static bool
says_ready(struct grpc_pass *pass, enum http2_outcome outcome)
{
	struct bytes path = pass->client == NULL ? bytes_make(NULL, 0) : grpc_call_path(pass->client);
	void (*own)(struct grpc_call *, struct grpc_message) =
		bytes_equal_text(path, GRPC_SERVER_READY)   ? grpc_server_ready
		: bytes_equal_text(path, GRPC_HEALTH_CHECK) ? grpc_health_check
							    : NULL;
	struct grpc_call *client = pass->client;

	if (own == NULL || outcome == HTTP2_DONE || pass->lane->options->readiness != FRONT_READY_EITHER ||
	    server_lane_table(pass->lane)->count == 0) {
		return false;
	}
	pass->client = NULL;
	grpc_call_set_state(client, NULL);
	own(client, (struct grpc_message){0});
	return true;
}

static void
on_done(struct grpc_upstream_call *call, enum http2_outcome outcome, const struct http2_field *trailers, size_t count,
	const char *why)
{
	struct grpc_pass *pass = (struct grpc_pass *)call;
	struct server_lane *lane = pass->lane;
	bool good = outcome == HTTP2_DONE && (pass->has_status || take_trailers(pass, trailers, count));

	if (pass->controls && !(good && is_refusal(pass))) {
		front_suspend_models(lane);
	}
	if (good && pass->is_stopping && pass->code == GRPC_OK) {
		finish(pass, GRPC_UNAVAILABLE, bytes_text("the server stops: open another stream elsewhere"));
	} else if (good) {
		finish(pass, pass->code, pass->text);
	} else if (!says_ready(pass, outcome)) {
		finish_failed(pass, outcome, why);
	}
	unref(pass);
	server_lane_release(lane);
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

	pass->waiting -= sent->message.content.length;
	if (pass->is_paused && pass->client != NULL && pass->waiting <= WAITING_MAX / 2) {
		pass->is_paused = false;
		grpc_call_resume(pass->client);
	}
	grpc_message_release(&sent->message);
	free(sent);
}

/* A single message is kept until the response begins, so that another replica can have it. */
void
grpc_pass_message(struct grpc_pass *pass, struct grpc_message message)
{
	struct pass_message *sent;
	size_t length = message.content.length;

	if (pass->is_stopping) {
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
	pass->waiting += length;
	http2_call_send(&pass->call.http2, &sent->prefix);
	http2_call_send(&pass->call.http2, &sent->content);
	if (++pass->message_count > 1) {
		http2_call_let_go(&pass->call.http2);
	}
	if (pass->message_count > 1 && pass->waiting > WAITING_MAX && !pass->is_paused && pass->client != NULL) {
		pass->is_paused = true;
		grpc_call_pause(pass->client);
	}
}

void
grpc_pass_half_close(struct grpc_pass *pass)
{
	if (!pass->is_half_closed && !pass->is_stopping) {
		http2_call_end(&pass->call.http2);
	}
	pass->is_half_closed = true;
}

static void
add(struct grpc_pass *pass, struct bytes name, struct bytes value)
{
	pass->fields[pass->field_count++] =
		(struct http2_field){.name = arena_copy(&pass->arena, name), .value = arena_copy(&pass->arena, value)};
}

static void
add_protocol(struct grpc_pass *pass)
{
	static const struct {
		enum coding coding;
		const char *name;
	} codings[] = {{CODING_GZIP, ",gzip"}, {CODING_DEFLATE, ",deflate"}};
	struct grpc_call *client = pass->client;
	char accepted[64] = "identity";
	char timeout[GRPC_TIMEOUT_SIZE];
	uint64_t ns;

	for (size_t i = 0; i < sizeof(codings) / sizeof(*codings); i++) {
		if (grpc_call_accepts(client, codings[i].coding)) {
			(void)strcat(accepted, codings[i].name);
		}
	}
	add(pass, bytes_text(":method"), bytes_text("POST"));
	add(pass, bytes_text(":path"), grpc_call_path(client));
	add(pass, bytes_text("te"), bytes_text("trailers"));
	add(pass, bytes_text("content-type"), bytes_text("application/grpc"));
	add(pass, bytes_text("grpc-accept-encoding"), bytes_text(accepted));
	if (grpc_call_timeout(client, &ns)) {
		grpc_timeout_write(ns, timeout);
		add(pass, bytes_text("grpc-timeout"), bytes_text(timeout));
	}
}

static void
add_metadata(struct grpc_pass *pass, const struct grpc_metadata *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (is_metadata(list[i].name) && !bytes_equal_text(list[i].name, "host")) {
			add(pass, list[i].name, list[i].value);
		}
	}
	add(pass, bytes_text("via"), bytes_text(GRPC_VIA));
}

/* A call that changes nothing may be sent to another replica. */
static bool
is_safe(struct bytes path)
{
	static const char *const names[] = {"ServerLive",    "ServerReady", "ModelReady",      "ServerMetadata",
					    "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex"};

	if (!bytes_starts_with(path, GRPC_SERVICE)) {
		return bytes_starts_with(path, "/grpc.");
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (bytes_equal_text(bytes_skip(path, strlen(GRPC_SERVICE)), names[i])) {
			return true;
		}
	}
	return false;
}

static bool
is_control(struct bytes path)
{
	return bytes_equal_text(path, GRPC_MODEL_LOAD) || bytes_equal_text(path, GRPC_MODEL_UNLOAD);
}

static const struct grpc_method passing;

struct grpc_pass *
grpc_pass_begin(struct grpc_call *call)
{
	struct grpc_pass *pass = memory_new(sizeof(*pass));
	const struct grpc_metadata *list;
	size_t count = grpc_call_metadata_list(call, &list);

	pass->client = call;
	pass->lane = grpc_lane_of(call);
	pass->references = 1;
	pass->controls = is_control(grpc_call_path(call));
	arena_init(&pass->arena, ARENA_MAX);
	pass->fields = memory_array(count + OWN_FIELDS, sizeof(*pass->fields));
	add_protocol(pass);
	add_metadata(pass, list, count);
	pass->call.http2.fields = pass->fields;
	pass->call.http2.field_count = pass->field_count;
	pass->call.http2.on_body = on_body;
	pass->call.on_head = on_head;
	pass->call.done = on_done;
	pass->call.is_repeatable = is_safe(grpc_call_path(call));
	grpc_call_hand_over(call, &passing);
	grpc_call_set_state(call, pass);
	server_lane_hold(pass->lane);
	grpc_upstream_call_start(pass->lane->grpc_upstream, &pass->call);
	return pass;
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
	struct server_lane *lane = pass->lane;

	pass->client = NULL;
	if (pass->controls && pass->is_half_closed) {
		return; /* the server may go on loading: when it has ended, its models are to be looked at */
	}
	grpc_upstream_call_cancel(&pass->call);
	unref(pass);
	server_lane_release(lane);
}

/* The stream's requests so far are answered. */
static void
on_stopping(struct grpc_call *call)
{
	struct grpc_pass *pass = grpc_call_state(call);

	if (!pass->is_half_closed && !pass->is_stopping) {
		http2_call_end(&pass->call.http2);
		pass->is_stopping = true;
	}
}

static const struct grpc_method passing = {
	.is_client_streaming = true,
	.message = on_message,
	.half_close = on_half_close,
	.cancelled = on_cancelled,
	.stopping = on_stopping,
};
