#include "server/grpc_control.h"

#include "base/memory.h"
#include "grpc/status.h"
#include "server/front.h"
#include "server/grpc_request_head.h"
#include "upstream/grpc_upstream.h"
#include "wire/http1.h"
#include "wire/infer_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_MAX ((size_t)1 << 20)
#define TEXT_MAX 2000

/* One replica, and its response. */
struct control_part {
	struct grpc_upstream_call call; /* first */
	struct grpc_control *control;
	struct http2_piece prefix;
	struct http2_piece content;
	uint64_t http_status; /* 0: none has come */
	bool has_status;
	enum grpc_code code;
	struct bytes text; /* encoded, as it has come; or our own */
	bool is_own;	   /* `text` */
	bool is_done;
};

struct grpc_control {
	struct grpc_call *client; /* NULL: it has left */
	struct server_lane *lane;
	TAILQ_ENTRY(grpc_control) entry; /* in lane->abandoned */
	bool is_abandoned;
	struct arena arena;
	struct grpc_message message;
	uint8_t prefix[INFER_REQUEST_PREFIX];
	struct control_part *parts;
	size_t count;
	size_t left; /* that are under way */
};

static void
free_control(struct grpc_control *control)
{
	struct server_lane *lane = control->lane;

	if (control->is_abandoned) {
		TAILQ_REMOVE(&lane->abandoned, control, entry);
		lane->abandoned_count--;
	}
	grpc_message_release(&control->message);
	arena_fini(&control->arena);
	free(control->parts);
	free(control);
	server_lane_release(lane);
}

static void
cancel(struct grpc_control *control)
{
	for (size_t i = 0; i < control->count; i++) {
		if (!control->parts[i].is_done) {
			grpc_upstream_call_cancel(&control->parts[i].call);
		}
	}
	free_control(control);
}

/* --- The reply --- */

/* With several replicas the text says which one has failed, and whether they differ now. */
static void
reply_failure(struct grpc_control *control, struct grpc_call *client, const struct control_part *part)
{
	const char *name = grpc_upstream_lane_name(control->lane->grpc_upstream, part->call.only);
	uint8_t decoded[TEXT_MAX];
	struct bytes cause = part->text;
	char text[TEXT_MAX + 400];
	size_t good = 0;

	if (control->count == 1 && !part->is_own) {
		grpc_call_finish_encoded(client, part->code, part->text);
		return;
	}
	if (!part->is_own) {
		cause.length = cause.length < TEXT_MAX ? cause.length : TEXT_MAX;
		cause = bytes_make(decoded, cause.length == 0 ? 0 : http1_percent_decode(cause, decoded));
	}
	for (size_t i = 0; i < control->count; i++) {
		good += control->parts[i].code == GRPC_OK;
	}
	(void)snprintf(text, sizeof(text), "upstream %s%s%.*s%s", part->is_own ? "" : name, part->is_own ? "" : ": ",
		       BYTES_ARGS(cause), good == 0 ? "" : FRONT_PARTLY_DONE);
	grpc_call_finish(client, part->code, bytes_text(text));
}

/*
 * Did the server refuse, so that it has the same models as before? UNAVAILABLE may also be what a gateway says whose
 * connection ended.
 */
static bool
is_refusal(const struct control_part *part)
{
	enum grpc_code code = part->code;

	if (part->is_own) {
		return false;
	}
	return code == GRPC_INVALID_ARGUMENT || code == GRPC_NOT_FOUND || code == GRPC_PERMISSION_DENIED ||
	       code == GRPC_UNIMPLEMENTED || code == GRPC_UNAUTHENTICATED;
}

/* The failure that is to be told: one of which it is not known what has become of the load, else a refusal. */
static const struct control_part *
find_failure(const struct grpc_control *control)
{
	const struct control_part *found = NULL;

	for (size_t i = 0; i < control->count; i++) {
		const struct control_part *part = &control->parts[i];

		if (part->code != GRPC_OK && (found == NULL || (is_refusal(found) && !is_refusal(part)))) {
			found = part;
		}
	}
	return found;
}

static void
finish(struct grpc_control *control)
{
	struct grpc_call *client = control->client;
	const struct control_part *part = find_failure(control);

	if (client != NULL) {
		grpc_call_set_state(client, NULL);
		if (part == NULL) {
			grpc_reply_empty(client);
		} else {
			reply_failure(control, client, part);
		}
	}
	free_control(control);
}

/* --- The responses --- */

static void
take_status(struct control_part *part, const struct http2_field *fields, size_t count)
{
	if (http2_field_status(fields, count, &part->code)) {
		part->has_status = true;
		part->text = arena_copy(&part->control->arena, http2_field_find(fields, count, "grpc-message"));
	}
}

static void
on_head(struct grpc_upstream_call *call, const struct http2_field *fields, size_t count, bool ends)
{
	struct control_part *part = (struct control_part *)call;

	(void)http1_number(http2_field_find(fields, count, ":status"), &part->http_status);
	if (ends) {
		take_status(part, fields, count);
	} else if (part->http_status == 200) { /* before the client hears of it */
		front_suspend_models(part->control->lane);
	}
}

static void
on_body(struct http2_call *http2, struct bytes part)
{
	http2_call_consume(http2, part.length); /* it has no fields */
}

/* What has come is no response of gRPC, or none has come. */
static void
take_failure(struct control_part *part, enum http2_outcome outcome, const char *why)
{
	char text[600];

	if (outcome == HTTP2_DONE && part->http_status == 200) {
		part->code = GRPC_UNKNOWN;
		(void)snprintf(text, sizeof(text), "%s: the response has no grpc-status",
			       grpc_upstream_lane_name(part->control->lane->grpc_upstream, part->call.only));
	} else if (outcome == HTTP2_DONE) {
		part->code = grpc_code_of_http((int)part->http_status);
		(void)snprintf(text, sizeof(text), "%s: HTTP status %" PRIu64 " in place of a response of gRPC",
			       grpc_upstream_lane_name(part->control->lane->grpc_upstream, part->call.only),
			       part->http_status);
	} else {
		part->code =
			outcome == HTTP2_RESET ? grpc_code_of_reset(part->call.http2.error_code) : GRPC_UNAVAILABLE;
		(void)snprintf(text, sizeof(text), "%s", why); /* it names the replica */
	}
	part->is_own = true;
	part->text = arena_copy(&part->control->arena, bytes_text(text));
}

static void
on_done(struct grpc_upstream_call *call, enum http2_outcome outcome, const struct http2_field *trailers, size_t count,
	const char *why)
{
	struct control_part *part = (struct control_part *)call;
	struct grpc_control *control = part->control;

	part->is_done = true;
	take_status(part, trailers, count);
	if (outcome != HTTP2_DONE || part->http_status != 200 || !part->has_status) {
		take_failure(part, outcome, why);
	}
	if (!is_refusal(part)) {
		front_suspend_models(control->lane);
	}
	if (--control->left == 0) {
		finish(control);
	}
}

/* --- The request --- */

static void
on_released(struct http2_piece *piece)
{
	(void)piece; /* the control has it until its end */
}

static void
start(struct control_part *part, const struct http2_field *fields, size_t field_count)
{
	struct grpc_control *control = part->control;
	struct http2_call *http2 = &part->call.http2;

	http2->fields = fields;
	http2->field_count = field_count;
	http2->kept = 2; /* one message */
	http2->on_body = on_body;
	part->call.on_head = on_head;
	part->call.done = on_done;
	part->prefix = (struct http2_piece){.bytes = bytes_make(control->prefix, sizeof(control->prefix)),
					    .released = on_released};
	part->content = (struct http2_piece){.bytes = control->message.content, .released = on_released};
	grpc_upstream_call_start(control->lane->grpc_upstream, &part->call);
	http2_call_send(http2, &part->prefix);
	http2_call_send(http2, &part->content);
	http2_call_end(http2);
}

static void
on_message(struct grpc_call *call, struct grpc_message message)
{
	struct grpc_control *control = memory_new(sizeof(*control));
	const struct http2_field *fields;
	size_t field_count;

	control->client = call;
	control->lane = grpc_lane_of(call);
	control->message = message;
	arena_init(&control->arena, ARENA_MAX);
	server_lane_hold(control->lane);
	/* Without the client's deadline: the end of a load is to be noticed, also where nobody waits for it. */
	fields = grpc_request_head(call, false, &control->arena, &field_count);
	if (fields == NULL) {
		grpc_call_finish(call, GRPC_FAILED_PRECONDITION,
				 bytes_text("the call came through here before: --upstream leads in a circle"));
		free_control(control);
		return;
	}
	infer_request_prefix((uint32_t)message.content.length, control->prefix);
	control->count = control->left = grpc_upstream_lane_count(control->lane->grpc_upstream);
	control->parts = memory_array(control->count, sizeof(*control->parts));
	grpc_call_set_state(call, control);
	for (size_t i = 0; i < control->count; i++) {
		control->parts[i].control = control;
		control->parts[i].call.is_for_one = true;
		control->parts[i].call.only = i;
		start(&control->parts[i], fields, field_count);
	}
}

/* The servers may go on to load a model: when they have ended, their models are to be looked at. */
static void
on_cancelled(struct grpc_call *call)
{
	struct grpc_control *control = grpc_call_state(call);
	struct server_lane *lane;

	if (control == NULL) { /* its message has not come */
		return;
	}
	lane = control->lane;
	control->client = NULL;
	control->is_abandoned = true;
	TAILQ_INSERT_TAIL(&lane->abandoned, control, entry);
	if (!front_abandon_control(lane)) {
		cancel(control);
	}
}

void
grpc_controls_stop(struct server_lane *lane)
{
	while (!TAILQ_EMPTY(&lane->abandoned)) {
		cancel(TAILQ_FIRST(&lane->abandoned));
	}
}

const struct service_method grpc_front_load = {
	{.path = GRPC_MODEL_LOAD, .begin = grpc_check_access, .message = on_message, .cancelled = on_cancelled},
	PROTOCOL_MODEL_REPOSITORY,
};
const struct service_method grpc_front_unload = {
	{.path = GRPC_MODEL_UNLOAD, .begin = grpc_check_access, .message = on_message, .cancelled = on_cancelled},
	PROTOCOL_MODEL_REPOSITORY,
};
