#include "upstream/upstream.h"

#include "base/container_of.h"
#include "base/memory.h"
#include "upstream/ledger.h"
#include "upstream/replica.h"

#include <stdio.h>
#include <stdlib.h>

#define HEAD_MAX ((size_t)128 * 1024)

struct upstream {
	struct replica_set set;
	struct http_client_options *clients; /* by replica */
	struct ledger *ledger;
};

struct upstream_lane {
	struct upstream *upstream;
	struct loop *loop;
	struct http_client **clients; /* by replica */
	size_t turn;		      /* see replica_choose */
	TAILQ_HEAD(, upstream_call) refused;
	struct loop_task *refuse;
};

/* --- Calls --- */

/* Returns the replica for a call, or -1. */
static ptrdiff_t
choose(struct upstream_lane *lane, const struct upstream_call *call)
{
	if (call->only >= 0) {
		return call->tried == 0 ? call->only : -1;
	}
	return replica_choose(&lane->upstream->set, call->tried, &lane->turn);
}

static void on_head(struct http_call *http, const struct http1_head *head);
static bool on_body(struct http_call *http, struct bytes part);
static void on_done(struct http_call *http, enum http_outcome outcome, const char *why);

static void
write_head(struct upstream_call *call, const struct upstream_url *url)
{
	size_t length = 0;

	for (size_t i = 0; i < call->body_count; i++) {
		length += call->body[i].length;
	}
	buf_clear(&call->head);
	buf_text(&call->head, call->method);
	buf_byte(&call->head, ' ');
	if (call->target.length > 0 && *call->target.at == '/') { /* not "*" */
		buf_text(&call->head, url->path);
	}
	buf_append(&call->head, call->target);
	buf_text(&call->head, " HTTP/1.1\r\nHost: ");
	buf_text(&call->head, url->authority);
	buf_text(&call->head, "\r\n");
	buf_append(&call->head, call->headers);
	if (length > 0 || strcmp(call->method, "POST") == 0 || strcmp(call->method, "PUT") == 0) {
		buf_text(&call->head, "Content-Length: ");
		buf_unsigned(&call->head, length);
		buf_text(&call->head, "\r\n");
	}
	buf_text(&call->head, "\r\n");
}

/* Sends the call to a replica that has not had it yet. False: there is none, or no memory. */
static bool
dispatch(struct upstream_call *call)
{
	struct upstream_lane *lane = call->lane;
	ptrdiff_t index = choose(lane, call);
	struct replica *replica;

	if (index < 0) {
		return false;
	}
	replica = &lane->upstream->set.replicas[index];
	write_head(call, &replica->url);
	if (!buf_ok(&call->head)) {
		return false;
	}
	call->replica = (size_t)index;
	call->tried |= UINT64_C(1) << index;
	call->http = (struct http_call){
		.head = buf_bytes(&call->head),
		.body = call->body,
		.body_count = call->body_count,
		.bodiless = strcmp(call->method, "HEAD") == 0,
		.repeatable = call->is_repeatable,
		.timeout_s = call->timeout_s,
		.on_head = on_head,
		.on_body = on_body,
		.done = on_done,
	};
	replica_begin(replica);
	http_client_start(lane->clients[index], &call->http);
	return true;
}

static struct replica *
replica_of(const struct upstream_call *call)
{
	return &call->lane->upstream->set.replicas[call->replica];
}

static void
on_head(struct http_call *http, const struct http1_head *head)
{
	struct upstream_call *call = container_of(http, struct upstream_call, http);

	call->is_answered = true;
	replica_note_success(replica_of(call));
	call->on_head(call, head);
}

static bool
on_body(struct http_call *http, struct bytes part)
{
	struct upstream_call *call = container_of(http, struct upstream_call, http);

	return call->on_body(call, part);
}

static void
on_done(struct http_call *http, enum http_outcome outcome, const char *why)
{
	struct upstream_call *call = container_of(http, struct upstream_call, http);
	struct replica *replica = replica_of(call);
	char text[512];

	replica_end(replica);
	if (outcome != HTTP_CALL_DONE) {
		if (outcome != HTTP_CALL_BROKEN) { /* which the request itself may have caused */
			replica_note_failure(replica, why);
		}
		(void)snprintf(text, sizeof(text), "%s: %s", replica->url.text, why);
		if (!call->is_answered && (outcome == HTTP_CALL_UNSENT || call->is_repeatable) && dispatch(call)) {
			return;
		}
	}
	buf_fini(&call->head);
	call->done(call, outcome, outcome == HTTP_CALL_DONE ? NULL : text);
}

/* Answers the calls that no replica has taken. */
static void
on_refused(void *argument)
{
	struct upstream_lane *lane = argument;
	const struct upstream *upstream = lane->upstream;
	struct upstream_call *call;
	char text[256];

	while ((call = TAILQ_FIRST(&lane->refused)) != NULL) {
		TAILQ_REMOVE(&lane->refused, call, entry);
		buf_fini(&call->head);
		(void)snprintf(text, sizeof(text), "%s%s", upstream->set.replicas[0].url.text,
			       upstream->set.count > 1 ? " and all other replicas are down" : " is down");
		call->done(call, HTTP_CALL_UNSENT, text);
	}
}

void
upstream_call_start(struct upstream_lane *lane, struct upstream_call *call)
{
	call->lane = lane;
	call->tried = 0;
	call->is_answered = false;
	buf_init(&call->head, HEAD_MAX);
	if (!dispatch(call)) {
		TAILQ_INSERT_TAIL(&lane->refused, call, entry);
		loop_task_set(lane->refuse);
	}
}

void
upstream_call_cancel(struct upstream_call *call)
{
	if (call->tried == 0) {
		TAILQ_REMOVE(&call->lane->refused, call, entry);
	} else {
		replica_end(replica_of(call));
		http_call_cancel(&call->http);
	}
	buf_fini(&call->head);
}

void
upstream_call_resume(struct upstream_call *call)
{
	http_call_resume(&call->http);
}

/* --- Life --- */

struct upstream *
upstream_new(const struct upstream_options *options, struct error *error)
{
	struct upstream *upstream = memory_new(sizeof(*upstream));
	struct replica_set *set = &upstream->set;

	upstream->ledger = ledger_new(options->url_count);
	if (replica_set_open(set, options->urls, options->url_count, &options->tls, error) != STATUS_OK) {
		upstream_free(upstream);
		return NULL;
	}
	upstream->clients = memory_array(set->count, sizeof(*upstream->clients));
	for (size_t i = 0; i < set->count; i++) {
		upstream->clients[i] = (struct http_client_options){
			.url = &set->replicas[i].url, .tls = set->tls, .connect_timeout_s = options->connect_timeout_s};
	}
	return upstream;
}

void
upstream_free(struct upstream *upstream)
{
	if (upstream != NULL) {
		replica_set_fini(&upstream->set);
		ledger_free(upstream->ledger);
		free(upstream->clients);
		free(upstream);
	}
}

struct upstream_lane *
upstream_lane_new(struct upstream *upstream, struct loop *loop)
{
	struct upstream_lane *lane = memory_new(sizeof(*lane));

	lane->upstream = upstream;
	lane->loop = loop;
	TAILQ_INIT(&lane->refused);
	lane->refuse = loop_task_new(loop, on_refused, lane);
	lane->clients = memory_array(upstream->set.count, sizeof(*lane->clients));
	for (size_t i = 0; i < upstream->set.count; i++) {
		lane->clients[i] = http_client_new(loop, &upstream->clients[i]);
	}
	return lane;
}

void
upstream_lane_free(struct upstream_lane *lane)
{
	if (lane == NULL) {
		return;
	}
	for (size_t i = 0; i < lane->upstream->set.count; i++) {
		http_client_free(lane->clients[i]);
	}
	loop_task_free(lane->refuse);
	free(lane->clients);
	free(lane);
}

size_t
upstream_lane_losses(const struct upstream_lane *lane, size_t replica)
{
	return http_client_losses(lane->clients[replica]);
}

struct ledger *
upstream_ledger(const struct upstream *upstream)
{
	return upstream->ledger;
}

struct ledger *
upstream_lane_ledger(const struct upstream_lane *lane)
{
	return lane->upstream->ledger;
}

size_t
upstream_count(const struct upstream *upstream)
{
	return upstream->set.count;
}

const char *
upstream_name(const struct upstream *upstream, size_t replica)
{
	return upstream->set.replicas[replica].url.text;
}
