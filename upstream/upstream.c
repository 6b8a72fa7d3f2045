#include "upstream/upstream.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "base/memory.h"
#include "upstream/ledger.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define BREAKER_FAILURES 3
#define BREAKER_NS UINT64_C(1000000000)
#define HEAD_MAX ((size_t)128 * 1024)

/* Any thread. */
struct replica {
	struct upstream_url url;
	struct http_client_options client;
	atomic_size_t outstanding;
	atomic_uint failures;	   /* in succession */
	_Atomic uint64_t retry_ns; /* when the next call may find out whether it is back */
};

struct upstream {
	struct tls_client *tls; /* NULL: no replica needs it */
	struct replica *replicas;
	size_t count;
	struct ledger *ledger;
};

struct upstream_lane {
	struct upstream *upstream;
	struct loop *loop;
	struct http_client **clients; /* by replica */
	size_t turn;		      /* where the search begins, so that equal replicas alternate */
	TAILQ_HEAD(, upstream_call) refused;
	struct loop_task *refuse;
};

/* --- Replicas --- */

static bool
is_open(const struct replica *replica)
{
	return atomic_load_explicit(&replica->failures, memory_order_relaxed) >= BREAKER_FAILURES;
}

/* May a call go to this replica? While it is down, one in a while may, to find out whether it is back. */
static bool
admits(const struct replica *replica)
{
	return !is_open(replica) || clock_now_ns() >= atomic_load_explicit(&replica->retry_ns, memory_order_relaxed);
}

static void
note_success(struct replica *replica)
{
	if (atomic_load_explicit(&replica->failures, memory_order_relaxed) != 0 &&
	    atomic_exchange(&replica->failures, 0) >= BREAKER_FAILURES) {
		log_info("upstream %s answers again", replica->url.text);
	}
}

static void
note_failure(struct replica *replica, const char *why)
{
	atomic_store(&replica->retry_ns, clock_now_ns() + BREAKER_NS);
	if (atomic_fetch_add(&replica->failures, 1) + 1 == BREAKER_FAILURES) {
		log_warning("upstream %s is down: %s", replica->url.text, why);
	}
}

static ptrdiff_t
least_loaded(const struct upstream_lane *lane, const struct upstream_call *call, bool any)
{
	const struct upstream *upstream = lane->upstream;
	size_t least = SIZE_MAX;
	ptrdiff_t chosen = -1;

	for (size_t i = 0; i < upstream->count; i++) {
		size_t index = (lane->turn + i) % upstream->count;
		const struct replica *replica = &upstream->replicas[index];
		size_t outstanding = atomic_load_explicit(&replica->outstanding, memory_order_relaxed);

		if ((call->tried & UINT64_C(1) << index) == 0 && outstanding < least && (any || admits(replica))) {
			least = outstanding;
			chosen = (ptrdiff_t)index;
		}
	}
	return chosen;
}

/* Returns the replica for a call, or -1. */
static ptrdiff_t
choose(struct upstream_lane *lane, const struct upstream_call *call)
{
	ptrdiff_t chosen;

	if (call->only >= 0) {
		return call->tried == 0 ? call->only : -1;
	}
	lane->turn++;
	chosen = least_loaded(lane, call, false);
	if (chosen < 0) { /* all seem to be down: the call finds out as it would without us */
		chosen = least_loaded(lane, call, true);
	}
	if (chosen >= 0 && is_open(&lane->upstream->replicas[chosen])) { /* this call finds out, others wait */
		atomic_store(&lane->upstream->replicas[chosen].retry_ns, clock_now_ns() + BREAKER_NS);
	}
	return chosen;
}

/* --- Calls --- */

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
	replica = &lane->upstream->replicas[index];
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
	(void)atomic_fetch_add_explicit(&replica->outstanding, 1, memory_order_relaxed);
	http_client_start(lane->clients[index], &call->http);
	return true;
}

static struct replica *
replica_of(const struct upstream_call *call)
{
	return &call->lane->upstream->replicas[call->replica];
}

static void
on_head(struct http_call *http, const struct http1_head *head)
{
	struct upstream_call *call = container_of(http, struct upstream_call, http);

	call->is_answered = true;
	note_success(replica_of(call));
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

	(void)atomic_fetch_sub_explicit(&replica->outstanding, 1, memory_order_relaxed);
	if (outcome != HTTP_CALL_DONE) {
		if (outcome != HTTP_CALL_BROKEN) { /* which the request itself may have caused */
			note_failure(replica, why);
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
		(void)snprintf(text, sizeof(text), "%s%s", upstream->replicas[0].url.text,
			       upstream->count > 1 ? " and all other replicas are down" : " is down");
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
		(void)atomic_fetch_sub_explicit(&replica_of(call)->outstanding, 1, memory_order_relaxed);
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

static enum status
read_urls(struct upstream *upstream, const struct upstream_options *options, struct error *error)
{
	for (size_t i = 0; i < options->url_count; i++) {
		struct replica *replica = &upstream->replicas[i];

		if (upstream_url_parse(options->urls[i], &replica->url, error) != STATUS_OK) {
			return error->status;
		}
		upstream->count++;
		if (replica->url.tls && upstream->tls == NULL) {
			upstream->tls = tls_client_new(&options->tls, error);
			if (upstream->tls == NULL) {
				return error->status;
			}
		}
		replica->client = (struct http_client_options){
			.url = &replica->url, .tls = upstream->tls, .connect_timeout_s = options->connect_timeout_s};
	}
	return STATUS_OK;
}

struct upstream *
upstream_new(const struct upstream_options *options, struct error *error)
{
	struct upstream *upstream;

	if (options->url_count > UPSTREAM_REPLICAS_MAX) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "--upstream is given %zu times, the maximum is %d",
				options->url_count, UPSTREAM_REPLICAS_MAX);
		return NULL;
	}
	upstream = memory_new(sizeof(*upstream));
	upstream->ledger = ledger_new(options->url_count);
	upstream->replicas = memory_array(options->url_count, sizeof(*upstream->replicas));
	if (read_urls(upstream, options, error) != STATUS_OK) {
		upstream_free(upstream);
		return NULL;
	}
	return upstream;
}

void
upstream_free(struct upstream *upstream)
{
	if (upstream == NULL) {
		return;
	}
	for (size_t i = 0; i < upstream->count; i++) {
		upstream_url_fini(&upstream->replicas[i].url);
	}
	tls_client_free(upstream->tls);
	ledger_free(upstream->ledger);
	free(upstream->replicas);
	free(upstream);
}

struct upstream_lane *
upstream_lane_new(struct upstream *upstream, struct loop *loop)
{
	struct upstream_lane *lane = memory_new(sizeof(*lane));

	lane->upstream = upstream;
	lane->loop = loop;
	TAILQ_INIT(&lane->refused);
	lane->refuse = loop_task_new(loop, on_refused, lane);
	lane->clients = memory_array(upstream->count, sizeof(*lane->clients));
	for (size_t i = 0; i < upstream->count; i++) {
		lane->clients[i] = http_client_new(loop, &upstream->replicas[i].client);
	}
	return lane;
}

void
upstream_lane_free(struct upstream_lane *lane)
{
	if (lane == NULL) {
		return;
	}
	for (size_t i = 0; i < lane->upstream->count; i++) {
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
	return upstream->count;
}

const char *
upstream_name(const struct upstream *upstream, size_t replica)
{
	return upstream->replicas[replica].url.text;
}
