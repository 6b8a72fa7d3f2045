/*
 * Loads and unloads of models of the server behind: sent to all replicas, which are to stay equal. Before the client
 * hears of one, and again when one has ended, the models are looked at anew. That goes on if the client leaves, since
 * servers go on loading.
 */
#include "base/log.h"
#include "base/memory.h"
#include "server/front.h"
#include "server/handlers.h"
#include "server/pass.h"
#include "upstream/via.h"
#include "wire/upstream_body.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_MAX ((size_t)1 << 20)

struct control;

/* One replica, and its response. */
struct control_part {
	struct upstream_call call; /* first */
	struct control *control;
	int status; /* 0: none has come */
	bool is_refusal;
	bool has_length;
	bool is_done;
	struct buf fields;
	struct buf body;
	enum http_outcome outcome;
	char why[300];
};

struct control {
	struct exchange *exchange;
	struct buf fields; /* of the request */
	struct control_part *parts;
	size_t count;
	size_t left;  /* that are under way */
	bool is_gone; /* the client: in lane->abandoned_http */
	TAILQ_ENTRY(control) entry;
};

/* --- The reply --- */

static bool
has_failed(const struct control_part *part)
{
	return part->outcome != HTTP_CALL_DONE || part->status < 200 || part->status >= 300;
}

/* As the replica has sent it. */
static void
reply_as_it_is(struct exchange *exchange, const struct control_part *part)
{
	exchange_stream_begin(exchange, part->status, buf_bytes(&part->fields), part->has_length);
	if (part->body.length > 0) {
		(void)exchange_stream(exchange, buf_bytes(&part->body));
	}
	exchange_stream_end(exchange, true);
}

static void
reply_failure(struct control *control, const struct control_part *part)
{
	const char *name = upstream_lane_name(part->call.lane, (size_t)part->call.only);
	char text[ERROR_TEXT_SIZE];
	char cause[ERROR_TEXT_SIZE - 300];
	size_t good = 0;

	if (part->outcome != HTTP_CALL_DONE) {
		(void)snprintf(cause, sizeof(cause), "%s", part->why); /* which names the replica */
	} else if (upstream_error_text(buf_bytes(&part->body), text, sizeof(cause) - 200)) {
		(void)snprintf(cause, sizeof(cause), "%s: %.1000s", name, text);
	} else {
		(void)snprintf(cause, sizeof(cause), "%s: HTTP status %d", name, part->status);
	}
	for (size_t i = 0; i < control->count; i++) {
		good += !has_failed(&control->parts[i]);
	}
	(void)snprintf(text, sizeof(text), "upstream %s%s", cause, good == 0 ? "" : FRONT_PARTLY_DONE);
	reply_http_error(control->exchange,
			 part->outcome != HTTP_CALL_DONE ? http_outcome_status(part->outcome)
			 : part->status < 400		 ? 502 /* such as a redirection */
							 : part->status,
			 text);
}

/* The failure that is to be told: one of which it is not known what has become of the load, else a refusal. */
static const struct control_part *
find_failure(const struct control *control)
{
	const struct control_part *found = NULL;

	for (size_t i = 0; i < control->count; i++) {
		const struct control_part *part = &control->parts[i];

		if (has_failed(part) && (found == NULL || (found->is_refusal && !part->is_refusal))) {
			found = part;
		}
	}
	return found;
}

static void
reply(struct control *control)
{
	struct exchange *exchange = control->exchange;
	const struct control_part *part = find_failure(control);

	if (control->is_gone) {
		reply_http_error(exchange, 502, "the client left before the reply");
	} else if (part == NULL) {
		reply_as_it_is(exchange, control->parts);
	} else if (control->count == 1 && part->outcome == HTTP_CALL_DONE) {
		reply_as_it_is(exchange, part);
	} else {
		reply_failure(control, part);
	}
}

static void
finish(struct control *control)
{
	struct server_lane *lane = control->exchange->lane;

	if (control->is_gone) {
		TAILQ_REMOVE(&lane->abandoned_http, control, entry);
		lane->abandoned_count--;
	}
	control->exchange->gone = NULL;
	reply(control);
	for (size_t i = 0; i < control->count; i++) {
		buf_fini(&control->parts[i].fields);
		buf_fini(&control->parts[i].body);
	}
	buf_fini(&control->fields);
	free(control->parts);
	free(control);
}

/* --- The responses --- */

/*
 * Did the server refuse, so that it has the same models as before? Triton says 503 where it does not take such
 * requests; what is no JSON comes from a gateway, whose connection may have ended in the middle. Of a server of gRPC
 * the last two may be a gateway's, too, or stand for codes that are no refusal.
 */
static bool
is_refusal(const struct control_part *part, const struct http1_head *head)
{
	int status = head->status;

	if (status == 401 || status == 403 || status == 404 || status == 405 || status == 501) {
		return true;
	}
	return !upstream_lane_is_grpc(part->call.lane, (size_t)part->call.only) &&
	       (status == 400 ||
		(status == 503 && bytes_starts_with(http1_header(head, "content-type"), "application/json")));
}

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	struct control_part *part = (struct control_part *)call;

	part->status = head->status;
	part->is_refusal = call->is_own || is_refusal(part, head);
	if (!part->is_refusal) {
		front_suspend_models(part->control->exchange->lane);
	}
	pass_response_fields(&part->fields, head, &part->has_length);
}

/* The part has ended. */
static void
end(struct control_part *part, enum http_outcome outcome, const char *why)
{
	struct control *control = part->control;

	part->is_done = true;
	part->outcome = outcome;
	(void)snprintf(part->why, sizeof(part->why), "%s", why == NULL ? "" : why);
	if (!part->is_refusal || outcome != HTTP_CALL_DONE) {
		front_suspend_models(control->exchange->lane);
	}
	if (has_failed(part)) {
		log_verbose("a load or unload at %s: status %d%s%s",
			    upstream_lane_name(part->call.lane, (size_t)part->call.only), part->status,
			    part->why[0] == '\0' ? "" : ", ", part->why);
	}
	if (--control->left == 0) {
		finish(control);
	}
}

static void
end_too_long(struct control_part *part)
{
	char why[300];

	(void)snprintf(why, sizeof(why), "%s: the response is too long",
		       upstream_lane_name(part->call.lane, (size_t)part->call.only));
	end(part, HTTP_CALL_BROKEN, why);
}

static bool
on_body(struct upstream_call *call, struct bytes bytes)
{
	struct control_part *part = (struct control_part *)call;

	buf_append(&part->body, bytes);
	if (!buf_ok(&part->body)) {
		upstream_call_cancel(call);
		end_too_long(part);
	}
	return true;
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct control_part *part = (struct control_part *)call;

	if (outcome == HTTP_CALL_DONE && !buf_ok(&part->fields)) {
		end_too_long(part);
	} else {
		end(part, outcome, why);
	}
}

/* --- Leaving --- */

static void
cancel(struct control *control)
{
	for (size_t i = 0; i < control->count; i++) {
		struct control_part *part = &control->parts[i];

		if (!part->is_done) {
			upstream_call_cancel(&part->call);
			part->is_done = true;
		}
	}
	finish(control);
}

static void
on_gone(struct exchange *exchange)
{
	struct control *control = exchange->gone_state;
	struct server_lane *lane = exchange->lane;

	if (control->is_gone) {
		return;
	}
	control->is_gone = true;
	TAILQ_INSERT_TAIL(&lane->abandoned_http, control, entry);
	if (!front_abandon_control(lane)) {
		cancel(control);
	}
}

void
controls_stop(struct server_lane *lane)
{
	while (!TAILQ_EMPTY(&lane->abandoned_http)) {
		cancel(TAILQ_FIRST(&lane->abandoned_http));
	}
}

/* --- The request --- */

static void
start(struct control_part *part, struct control *control, size_t replica)
{
	struct exchange *exchange = control->exchange;

	part->control = control;
	buf_init(&part->fields, PASS_FIELDS_MAX);
	buf_init(&part->body, BODY_MAX);
	part->call = (struct upstream_call){
		.method = exchange->head.method_name,
		.target = exchange->head.target,
		.headers = buf_bytes(&control->fields),
		.body = &exchange->body,
		.body_count = 1,
		.only = (ptrdiff_t)replica,
		.on_head = on_head,
		.on_body = on_body,
		.done = on_done,
	};
	upstream_call_start(exchange->lane->upstream, &part->call);
}

void
handle_control(struct exchange *exchange)
{
	struct control *control = memory_new(sizeof(*control));

	if (!pass_request_fields(exchange, &control->fields)) {
		free(control);
		return;
	}
	control->exchange = exchange;
	control->count = control->left = upstream_lane_count(exchange->lane->upstream);
	control->parts = memory_array(control->count, sizeof(*control->parts));
	exchange->gone = on_gone;
	exchange->gone_state = control;
	for (size_t i = 0; i < control->count; i++) {
		start(&control->parts[i], control, i);
	}
}
