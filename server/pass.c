/* Requests that pass through to the server behind. */
#include "base/log.h"
#include "server/front.h"
#include "server/handlers.h"
#include "server/pass.h"
#include "upstream/via.h"

#include <stdio.h>

#define READY_TIMEOUT_S 3

struct pass {
	struct upstream_call call; /* first */
	struct exchange *exchange;
	struct buf fields; /* of the request, then of the reply */
	struct bytes cache_status;
	bool has_begun;	 /* the reply */
	bool asks_ready; /* the server's word is good, but not needed */
};

/* --- Header fields --- */

/* Does a list of tokens, as in the Connection field, contain this name? */
static bool
lists(struct bytes list, struct bytes name)
{
	while (list.length > 0) {
		struct bytes token = bytes_take_until(&list, ',');

		while (token.length > 0 && (*token.at == ' ' || *token.at == '\t')) {
			token = bytes_skip(token, 1);
		}
		while (token.length > 0 && (token.at[token.length - 1] == ' ' || token.at[token.length - 1] == '\t')) {
			token.length--;
		}
		if (token.length == name.length &&
		    strncasecmp((const char *)token.at, (const char *)name.at, name.length) == 0) {
			return true;
		}
	}
	return false;
}

/* Fields that concern one connection only (RFC 9110 section 7.6.1), those that Connection names among them. */
static bool
is_hop_by_hop(const struct http1_head *head, struct bytes name)
{
	static const char *const names[] = {"connection",
					    "keep-alive",
					    "proxy-connection",
					    "proxy-authenticate",
					    "proxy-authorization",
					    "te",
					    "trailer",
					    "transfer-encoding",
					    "upgrade"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (bytes_equal_nocase(name, names[i])) {
			return true;
		}
	}
	if (bytes_equal_nocase(name, "content-length")) { /* whatever Connection says: it frames the body */
		return false;
	}
	for (size_t i = 0; i < head->header_count; i++) {
		if (bytes_equal_nocase(head->headers[i].name, "connection") && lists(head->headers[i].value, name)) {
			return true;
		}
	}
	return false;
}

static void
write_field(struct buf *out, struct bytes name, struct bytes value)
{
	buf_append(out, name);
	buf_text(out, ": ");
	buf_append(out, value);
	buf_text(out, "\r\n");
}

/* Copies the end-to-end fields but those of `left_out`, and adds ourselves to Via (RFC 9110 section 7.6.3). */
static void
write_fields(struct buf *out, const struct http1_head *head, const char *const *left_out)
{
	for (size_t i = 0; i < head->header_count; i++) {
		struct bytes name = head->headers[i].name;
		bool out_left = is_hop_by_hop(head, name);

		for (size_t k = 0; left_out[k] != NULL && !out_left; k++) {
			out_left = bytes_equal_nocase(name, left_out[k]);
		}
		if (!out_left) {
			write_field(out, name, head->headers[i].value);
		}
	}
	write_field(out, bytes_text("Via"), bytes_text(VIA_HTTP));
}

void
pass_response_fields(struct buf *fields, const struct http1_head *head, bool *has_length)
{
	static const char *const none[] = {NULL};
	static const char *const length[] = {"content-length", NULL};

	*has_length = !head->chunked && !head->until_close; /* else a Content-Length beside it means nothing */
	write_fields(fields, head, *has_length ? none : length);
}

/* --- The reply --- */

static void
fail(struct pass *pass, enum http_outcome outcome, const char *why)
{
	char text[600];

	if (pass->asks_ready && server_lane_table(pass->exchange->lane)->count > 0) {
		reply_bare(pass->exchange, true, "text/plain");
		return;
	}
	(void)snprintf(text, sizeof(text), "upstream %s", why);
	log_verbose("%s", text);
	reply_http_error(pass->exchange, http_outcome_status(outcome), text);
}

static void
on_head(struct upstream_call *call, const struct http1_head *head)
{
	struct pass *pass = (struct pass *)call;
	bool has_length;

	buf_clear(&pass->fields);
	pass_response_fields(&pass->fields, head, &has_length);
	if (pass->cache_status.length > 0) {
		write_field(&pass->fields, bytes_text("Cache-Status"), pass->cache_status);
		log_verbose("infer target='%.*s' status=%d cache='%.*s'", BYTES_ARGS(pass->exchange->head.target),
			    head->status, BYTES_ARGS(pass->cache_status));
	}
	pass->has_begun = true;
	exchange_stream_begin(pass->exchange, head->status, buf_bytes(&pass->fields), has_length);
}

static bool
on_body(struct upstream_call *call, struct bytes part)
{
	return exchange_stream(((struct pass *)call)->exchange, part);
}

static void
on_done(struct upstream_call *call, enum http_outcome outcome, const char *why)
{
	struct pass *pass = (struct pass *)call;
	struct exchange *exchange = pass->exchange;

	exchange->gone = NULL;
	exchange->drained = NULL;
	exchange->more = NULL;
	buf_fini(&pass->fields);
	if (!pass->has_begun) {
		fail(pass, outcome, why);
		return;
	}
	if (outcome != HTTP_CALL_DONE) {
		log_warning("a reply of upstream %s; its client gets it cut off", why);
	}
	exchange_stream_end(exchange, outcome == HTTP_CALL_DONE);
}

static void
on_drained(struct exchange *exchange)
{
	upstream_call_resume(&((struct pass *)exchange->gone_state)->call);
}

static void
on_more(struct exchange *exchange, size_t count)
{
	upstream_call_more(&((struct pass *)exchange->gone_state)->call, count);
}

/* No more comes of the request, or its reply is read by nobody. */
static void
on_gone(struct exchange *exchange)
{
	struct pass *pass = exchange->gone_state;

	exchange->gone = NULL;
	exchange->drained = NULL;
	exchange->more = NULL;
	upstream_call_cancel(&pass->call);
	buf_fini(&pass->fields);
	if (pass->has_begun) {
		exchange_stream_end(exchange, false);
	} else if (exchange->lost.status != 0) {
		reply_http_error(exchange, exchange->lost.status, exchange->lost.text);
	} else if (exchange->missing > 0) {
		reply_http_error(exchange, 400, "the client left before its request was whole");
	} else {
		reply_http_error(exchange, 502, "the client left before the reply");
	}
}

/* --- The request --- */

/* A safe method may be sent again (RFC 9110 section 9.2.2), and what was asked for as a miss, which may run twice. */
static bool
may_run_twice(const struct exchange *exchange)
{
	enum http1_method method = exchange->head.method;

	return method == HTTP1_GET || method == HTTP1_HEAD || method == HTTP1_OPTIONS ||
	       exchange->pass_reason == PASS_RESPONSE;
}

static size_t
count_via(const struct http1_head *head)
{
	size_t count = 0;

	for (size_t i = 0; i < head->header_count; i++) {
		count += bytes_equal_nocase(head->headers[i].name, "via") &&
			 bytes_equal_text(head->headers[i].value, VIA_HTTP);
	}
	return count;
}

bool
pass_request_fields(struct exchange *exchange, struct buf *fields)
{
	static const char *const replaced[] = {"host", "content-length", "expect", NULL};
	const struct http1_head *head = &exchange->head;

	if (!bytes_starts_with(head->target, "/") && !bytes_equal_text(head->target, "*")) {
		reply_http_error(exchange, 400, "the request's target is no path");
		return false;
	}
	if (memchr(head->target.at, '#', head->target.length) != NULL) { /* which some servers cut off */
		reply_http_error(exchange, 400, "the request's target has a fragment, which RFC 9112 does not allow");
		return false;
	}
	if (count_via(head) >= VIA_MAX) {
		reply_http_error(exchange, 508, "the request came through here before: --upstream leads in a circle");
		return false;
	}
	buf_init(fields, PASS_FIELDS_MAX);
	write_fields(fields, head, replaced);
	if (!buf_ok(fields)) {
		buf_fini(fields);
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the request");
		return false;
	}
	return true;
}

static void
pass_on(struct exchange *exchange, bool asks_ready)
{
	const struct http1_head *head = &exchange->head;
	struct pass *pass = arena_get(&exchange->arena, sizeof(*pass));

	if (pass == NULL) {
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the request");
		return;
	}
	if (!pass_request_fields(exchange, &pass->fields)) {
		return;
	}
	pass->exchange = exchange;
	pass->asks_ready = asks_ready;
	pass->cache_status = pass_reason_count(exchange->lane->passes, exchange->pass_reason);
	pass->call = (struct upstream_call){
		.method = head->method_name,
		.target = head->target,
		.headers = buf_bytes(&pass->fields),
		.body = &exchange->body,
		.body_count = 1,
		.missing = exchange->missing,
		.is_repeatable = may_run_twice(exchange),
		.only = -1,
		.timeout_s = asks_ready ? READY_TIMEOUT_S : 0,
		.on_head = on_head,
		.on_body = on_body,
		.done = on_done,
	};
	exchange->gone = on_gone;
	exchange->gone_state = pass;
	exchange->drained = on_drained;
	exchange->more = on_more;
	upstream_call_start(exchange->lane->upstream, &pass->call);
}

void
handle_pass(struct exchange *exchange)
{
	pass_on(exchange, false);
}

bool
pass_takes_parts(struct exchange *exchange)
{
	(void)exchange;
	return true;
}

void
handle_front_ready(struct exchange *exchange)
{
	if (exchange->options->readiness == FRONT_READY_OWN) {
		handle_live(exchange);
	} else {
		pass_on(exchange, exchange->options->readiness == FRONT_READY_EITHER);
	}
}
