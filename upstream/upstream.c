#include "upstream/upstream.h"

#include "base/clock.h"
#include "base/container_of.h"
#include "base/memory.h"
#include "upstream/ledger.h"
#include "upstream/replica.h"
#include "upstream/replica_client.h"

#include <stdio.h>
#include <stdlib.h>

#define STALL_MS 5000U /* of silence in the middle of a response */
#define HEAD_MAX ((size_t)128 * 1024)

struct upstream {
	struct replica_set set;
	struct ledger *ledger;
};

struct upstream_lane {
	struct upstream *upstream;
	struct loop *loop;
	const struct work_options *work; /* NULL: none */
	struct replica_client *clients;	 /* by replica */
	size_t turn;			 /* see replica_choose */
	TAILQ_HEAD(, upstream_call) refused;
	struct loop_task *refuse;
};

/* --- Attempts --- */

static void on_head(struct http_call *http, const struct http1_head *head);
static bool on_body(struct http_call *http, struct bytes part);
static void on_heard(struct http_call *http);
static void on_done(struct http_call *http, enum http_outcome outcome, const char *why);

static struct replica *
replica_of(const struct upstream_call *call, const struct upstream_attempt *attempt)
{
	return &call->lane->upstream->set.replicas[attempt->replica];
}

static struct replica_client *
client_of(struct upstream_attempt *attempt)
{
	return &attempt->call->lane->clients[attempt->replica];
}

/* Returns the replica for an attempt, or -1. */
static ptrdiff_t
choose(struct upstream_call *call)
{
	struct upstream_lane *lane = call->lane;

	if (call->only >= 0) {
		return call->tried == 0 ? call->only : -1;
	}
	return replica_choose(&lane->upstream->set, call->tried, &lane->turn);
}

static void
write_head(const struct upstream_call *call, const struct upstream_url *url, struct buf *head)
{
	size_t length = 0;

	for (size_t i = 0; i < call->body_count; i++) {
		length += call->body[i].length;
	}
	buf_clear(head);
	buf_text(head, call->method);
	buf_byte(head, ' ');
	if (call->target.length > 0 && *call->target.at == '/') { /* not "*" */
		buf_text(head, url->path);
	}
	buf_append(head, call->target);
	buf_text(head, " HTTP/1.1\r\nHost: ");
	buf_text(head, url->authority);
	buf_text(head, "\r\n");
	buf_append(head, call->headers);
	if (length > 0 || strcmp(call->method, "POST") == 0 || strcmp(call->method, "PUT") == 0) {
		buf_text(head, "Content-Length: ");
		buf_unsigned(head, length);
		buf_text(head, "\r\n");
	}
	buf_text(head, "\r\n");
}

/* Sends the call to a replica that has not had it yet. False: `index` says that there is none, or no memory. */
static bool
dispatch(struct upstream_call *call, struct upstream_attempt *attempt, ptrdiff_t index, bool hedges)
{
	struct upstream_lane *lane = call->lane;
	struct replica *replica;

	if (index < 0) {
		return false;
	}
	replica = &lane->upstream->set.replicas[index];
	write_head(call, &replica->url, &attempt->head);
	if (!buf_ok(&attempt->head)) {
		return false;
	}
	attempt->replica = (size_t)index;
	attempt->is_under_way = true;
	attempt->begun_ns = clock_now_ns();
	call->tried |= UINT64_C(1) << index;
	attempt->http = (struct http_call){
		.head = buf_bytes(&attempt->head),
		.body = call->body,
		.body_count = call->body_count,
		.missing = call->missing,
		.bodiless = strcmp(call->method, "HEAD") == 0,
		.repeatable = call->is_repeatable,
		.timeout_s = call->timeout_s,
		.on_head = on_head,
		.on_body = on_body,
		.heard = on_heard,
		.done = on_done,
	};
	replica_begin(replica, hedges);
	replica_client_start(client_of(attempt), &attempt->http);
	return true;
}

static void
end_attempt(struct upstream_attempt *attempt, bool failed)
{
	attempt->is_under_way = false;
	replica_end(replica_of(attempt->call, attempt), failed);
}

static struct upstream_attempt *
other_attempt(struct upstream_attempt *attempt)
{
	struct upstream_call *call = attempt->call;

	return attempt == &call->attempts[0] ? &call->attempts[1] : &call->attempts[0];
}

/* --- Calls --- */

static void
stop_hedge(struct upstream_call *call)
{
	loop_timer_free(call->hedge);
	call->hedge = NULL;
}

/* An attempt that is not needed any more. */
static void
drop(struct upstream_call *call, struct upstream_attempt *attempt, bool silent)
{
	if (silent) {
		replica_note_failure(replica_of(call, attempt), "the server is silent");
	}
	replica_client_cancel(client_of(attempt), &attempt->http);
	end_attempt(attempt, silent);
}

/* No attempt is under way: the call is answered later. */
static void
refuse(struct upstream_call *call)
{
	call->is_refused = true;
	TAILQ_INSERT_TAIL(&call->lane->refused, call, entry);
	loop_task_set(call->lane->refuse);
}

static struct upstream_attempt *
only_attempt(struct upstream_call *call)
{
	return &call->attempts[call->attempts[0].is_under_way ? 0 : 1];
}

/*
 * No replica has begun to answer for long: another one gets the call, too, and whichever does first is taken. If two
 * are silent, the one that was asked first makes room for a third.
 */
static void
ask_another(struct upstream_call *call)
{
	struct upstream_lane *lane = call->lane;
	struct upstream_attempt *attempts = call->attempts;
	struct upstream_attempt *older = &attempts[attempts[0].begun_ns <= attempts[1].begun_ns ? 0 : 1];
	bool both = attempts[0].is_under_way && attempts[1].is_under_way;
	struct upstream_attempt *next = both ? older : other_attempt(only_attempt(call));
	ptrdiff_t index = replica_choose_good(&lane->upstream->set, call->tried, &lane->turn);

	if (index < 0 && !both && !call->has_repeated && call->may_repeat != NULL && call->may_repeat(call)) {
		call->has_repeated = true;
		index = (ptrdiff_t)only_attempt(call)->replica;
	}
	if (index >= 0) {
		if (both) {
			drop(call, older, true);
		}
		(void)dispatch(call, next, index, true); /* else the other one goes on */
	}
}

/* The response stopped in the middle: it begins anew elsewhere or, once, at the same replica. */
static void
begin_anew(struct upstream_call *call)
{
	struct upstream_lane *lane = call->lane;
	struct upstream_attempt *attempt = only_attempt(call);
	ptrdiff_t index = replica_choose_good(&lane->upstream->set, call->tried, &lane->turn);

	if (!call->begins_anew || (index < 0 && call->has_repeated)) {
		return;
	}
	if (index < 0) {
		call->has_repeated = true;
		index = (ptrdiff_t)attempt->replica;
	}
	drop(call, attempt, true);
	call->is_answered = false;
	if (!dispatch(call, attempt, index, true)) {
		refuse(call);
	}
}

/* A server has the response when it begins to send it. */
static uint64_t
patience_ms(const struct upstream_call *call)
{
	return call->is_answered && call->hedge_ms > STALL_MS ? STALL_MS : call->hedge_ms;
}

/* Then the time that passes is not the server's. */
static bool
is_working(const struct upstream_call *call)
{
	bool found = false;

	for (size_t i = 0; i < 2; i++) {
		found = found || (call->attempts[i].is_under_way && call->attempts[i].http.is_working);
	}
	return found;
}

static void
on_hedge(void *argument)
{
	struct upstream_call *call = argument;
	uint64_t silent_ms = is_working(call) ? 0 : (clock_now_ns() - call->heard_ns) / NS_PER_MS;

	if (silent_ms < patience_ms(call)) {
		loop_timer_set(call->hedge, patience_ms(call) - silent_ms);
		return;
	}
	if (call->is_answered) {
		begin_anew(call);
	} else {
		ask_another(call);
	}
	call->heard_ns = clock_now_ns();
	loop_timer_set(call->hedge, patience_ms(call)); /* later another one may be good */
}

static void
fini(struct upstream_call *call)
{
	stop_hedge(call);
	buf_fini(&call->attempts[0].head);
	buf_fini(&call->attempts[1].head);
}

static void
on_head(struct http_call *http, const struct http1_head *head)
{
	struct upstream_attempt *attempt = container_of(http, struct upstream_attempt, http);
	struct upstream_attempt *other = other_attempt(attempt);
	struct upstream_call *call = attempt->call;

	call->is_answered = true;
	call->replica = attempt->replica;
	call->is_own = http->is_own;
	call->heard_ns = clock_now_ns();
	if (call->hedge != NULL) {
		loop_timer_set(call->hedge, patience_ms(call));
	}
	if (!http->is_own) {
		replica_note_success(replica_of(call, attempt));
	}
	if (other->is_under_way) {
		/* Silent, if it had so much more time. */
		drop(call, other,
		     other->replica != attempt->replica && !other->http.is_working &&
			     other->begun_ns + call->hedge_ms * NS_PER_MS <= attempt->begun_ns);
	}
	call->on_head(call, head);
}

static bool
on_body(struct http_call *http, struct bytes part)
{
	struct upstream_call *call = container_of(http, struct upstream_attempt, http)->call;

	if (call->hedge != NULL) {
		call->heard_ns = clock_now_ns();
	}
	return call->on_body(call, part);
}

static void
on_heard(struct http_call *http)
{
	container_of(http, struct upstream_attempt, http)->call->heard_ns = clock_now_ns();
}

static void
on_done(struct http_call *http, enum http_outcome outcome, const char *why)
{
	struct upstream_attempt *attempt = container_of(http, struct upstream_attempt, http);
	struct upstream_call *call = attempt->call;
	struct replica *replica = replica_of(call, attempt);
	char text[512];

	end_attempt(attempt, outcome != HTTP_CALL_DONE);
	if (outcome != HTTP_CALL_DONE) {
		bool unbegun = outcome == HTTP_CALL_UNSENT || outcome == HTTP_CALL_REFUSED;
		bool again = call->is_answered ? call->begins_anew : unbegun || call->is_repeatable;

		if (outcome == HTTP_CALL_UNSENT ||
		    outcome == HTTP_CALL_TIMED_OUT) { /* not what the request may have caused */
			replica_note_failure(replica, why);
		}
		(void)snprintf(text, sizeof(text), "%s: %s", replica->url.text, why);
		if (!other_attempt(attempt)->is_under_way) { /* whichever comes next has not begun to answer */
			call->is_answered = false;
			call->heard_ns = clock_now_ns();
		}
		if ((again && dispatch(call, attempt, choose(call), false)) || other_attempt(attempt)->is_under_way) {
			return;
		}
	}
	fini(call);
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
		fini(call);
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
	call->has_repeated = false;
	call->is_refused = false;
	call->hedge = NULL;
	for (size_t i = 0; i < 2; i++) {
		call->attempts[i].call = call;
		call->attempts[i].is_under_way = false;
		buf_init(&call->attempts[i].head, HEAD_MAX);
	}
	if (!dispatch(call, &call->attempts[0], choose(call), false)) {
		refuse(call);
	} else if (call->hedge_ms > 0 && call->only < 0 &&
		   (lane->upstream->set.count > 1 || call->may_repeat != NULL)) {
		call->heard_ns = call->attempts[0].begun_ns;
		call->hedge = loop_timer_new(lane->loop, on_hedge, call);
		loop_timer_set(call->hedge, call->hedge_ms);
	}
}

void
upstream_call_cancel(struct upstream_call *call)
{
	if (call->is_refused) {
		TAILQ_REMOVE(&call->lane->refused, call, entry);
	}
	for (size_t i = 0; i < 2; i++) {
		if (call->attempts[i].is_under_way) {
			drop(call, &call->attempts[i], false);
		}
	}
	fini(call);
}

void
upstream_call_more(struct upstream_call *call, size_t count)
{
	call->missing -= count;
	for (size_t i = 0; i < 2; i++) {
		if (call->attempts[i].is_under_way) {
			replica_client_more(client_of(&call->attempts[i]), &call->attempts[i].http, count);
		}
	}
}

void
upstream_call_resume(struct upstream_call *call)
{
	for (size_t i = 0; i < 2; i++) {
		if (call->attempts[i].is_under_way) {
			replica_client_resume(client_of(&call->attempts[i]), &call->attempts[i].http);
		}
	}
}

/* --- Life --- */

struct upstream *
upstream_new(const struct upstream_options *options, struct error *error)
{
	struct upstream *upstream = memory_new(sizeof(*upstream));

	upstream->ledger = ledger_new(options->url_count);
	if (replica_set_open(&upstream->set, options, error) != STATUS_OK) {
		upstream_free(upstream);
		return NULL;
	}
	return upstream;
}

void
upstream_free(struct upstream *upstream)
{
	if (upstream != NULL) {
		replica_set_fini(&upstream->set);
		ledger_free(upstream->ledger);
		free(upstream);
	}
}

bool
upstream_lane_is_grpc(const struct upstream_lane *lane, size_t replica)
{
	return upstream_is_grpc(lane->upstream, replica);
}

struct upstream_lane *
upstream_lane_new(struct upstream *upstream, struct loop *loop, const struct work_options *work)
{
	struct upstream_lane *lane = memory_new(sizeof(*lane));

	lane->upstream = upstream;
	lane->loop = loop;
	lane->work = work;
	TAILQ_INIT(&lane->refused);
	lane->refuse = loop_task_new(loop, on_refused, lane);
	lane->clients = memory_array(upstream->set.count, sizeof(*lane->clients));
	for (size_t i = 0; i < upstream->set.count; i++) {
		replica_client_init(&lane->clients[i], loop, &upstream->set.replicas[i].dial, work);
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
		replica_client_fini(&lane->clients[i]);
	}
	loop_task_free(lane->refuse);
	free(lane->clients);
	free(lane);
}

struct loop *
upstream_lane_loop(const struct upstream_lane *lane)
{
	return lane->loop;
}

const struct work_options *
upstream_lane_work(const struct upstream_lane *lane)
{
	return lane->work;
}

size_t
upstream_lane_losses(const struct upstream_lane *lane, size_t replica)
{
	return replica_client_losses(&lane->clients[replica]);
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

size_t
upstream_lane_count(const struct upstream_lane *lane)
{
	return upstream_count(lane->upstream);
}

const char *
upstream_name(const struct upstream *upstream, size_t replica)
{
	return upstream->set.replicas[replica].url.text;
}

const char *
upstream_lane_name(const struct upstream_lane *lane, size_t replica)
{
	return upstream_name(lane->upstream, replica);
}

bool
upstream_is_grpc(const struct upstream *upstream, size_t replica)
{
	return upstream->set.replicas[replica].url.grpc;
}

struct replica_set *
upstream_replicas(struct upstream *upstream)
{
	return &upstream->set;
}
