#include "upstream/grpc_upstream.h"

#include "base/memory.h"
#include "upstream/replica.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOK_MS 1000

struct grpc_upstream {
	struct replica_set set;
};

struct grpc_upstream_lane {
	struct grpc_upstream *upstream;
	struct http2_client **clients; /* by replica */
	struct look *looks;	       /* by replica */
	size_t turn;		       /* see replica_choose */
	struct loop_timer *timer;
};

/* Whether a replica answers, which a call may not have asked lately. */
struct look {
	struct replica *replica;
	bool is_under_way;
};

/* --- Calls --- */

static struct replica *
replica_of(const struct grpc_upstream_call *call)
{
	return &call->lane->upstream->set.replicas[call->replica];
}

/* Chooses a replica that has not had the call. False: there is none. */
static bool
choose(struct grpc_upstream_call *call)
{
	struct grpc_upstream_lane *lane = call->lane;
	ptrdiff_t index = !call->is_for_one  ? replica_choose(&lane->upstream->set, call->tried, &lane->turn)
			  : call->tried == 0 ? (ptrdiff_t)call->only
					     : -1;

	if (index < 0) {
		return false;
	}
	call->replica = (size_t)index;
	call->tried |= UINT64_C(1) << index;
	replica_begin(replica_of(call), false);
	return true;
}

static void
on_head(struct http2_call *http2, const struct http2_field *fields, size_t count, bool ends)
{
	struct grpc_upstream_call *call = (struct grpc_upstream_call *)http2;

	replica_note_success(replica_of(call));
	http2_call_let_go(http2);
	call->on_head(call, fields, count, ends);
}

static void
on_done(struct http2_call *http2, enum http2_outcome outcome, const struct http2_field *trailers, size_t count,
	const char *why)
{
	struct grpc_upstream_call *call = (struct grpc_upstream_call *)http2;
	struct replica *replica = replica_of(call);
	char text[512];

	replica_end(replica, outcome != HTTP2_DONE);
	if (outcome == HTTP2_UNREACHED) {
		replica_note_failure(replica, why);
	}
	(void)snprintf(text, sizeof(text), "%s: %s", replica->url.text, why == NULL ? "" : why);
	if (http2->keeps_pieces && outcome != HTTP2_DONE &&
	    (outcome == HTTP2_UNREACHED || outcome == HTTP2_UNPROCESSED ||
	     (outcome == HTTP2_BROKEN && call->is_repeatable)) &&
	    choose(call)) {
		http2_client_restart(call->lane->clients[call->replica], http2);
		return;
	}
	http2_call_let_go(http2);
	call->done(call, outcome, trailers, count, outcome == HTTP2_DONE ? NULL : text);
}

void
grpc_upstream_call_start(struct grpc_upstream_lane *lane, struct grpc_upstream_call *call)
{
	call->lane = lane;
	call->tried = 0;
	call->http2.keeps_pieces = true;
	call->http2.repeatable = call->is_repeatable;
	call->http2.on_head = on_head;
	call->http2.done = on_done;
	(void)choose(call); /* there is one, tried is zero */
	http2_client_start(lane->clients[call->replica], &call->http2);
}

void
grpc_upstream_call_cancel(struct grpc_upstream_call *call)
{
	replica_end(replica_of(call), false);
	http2_call_cancel(&call->http2);
}

/* --- Looks --- */

static void
on_look(void *argument, const char *failure)
{
	struct look *look = argument;

	look->is_under_way = false;
	if (failure == NULL) {
		replica_note_success(look->replica);
	} else {
		replica_note_failure(look->replica, failure);
	}
}

/* One lane looks at a replica for all. Where there is a connection, a look would send nothing and learn nothing. */
static void
on_timer(void *argument)
{
	struct grpc_upstream_lane *lane = argument;

	for (size_t i = 0; i < lane->upstream->set.count; i++) {
		struct look *look = &lane->looks[i];

		bool is_worth_it = replica_has_failed(look->replica) || !http2_client_is_connected(lane->clients[i]);

		if (!look->is_under_way && is_worth_it && replica_is_due(look->replica)) {
			look->is_under_way = true;
			http2_client_probe(lane->clients[i], on_look, look);
		}
	}
	loop_timer_set(lane->timer, LOOK_MS);
}

/* --- Life --- */

struct grpc_upstream *
grpc_upstream_new(const struct upstream_options *options, struct error *error)
{
	struct grpc_upstream *upstream = memory_new(sizeof(*upstream));

	if (replica_set_open(&upstream->set, options, error) != STATUS_OK) {
		grpc_upstream_free(upstream);
		return NULL;
	}
	return upstream;
}

void
grpc_upstream_free(struct grpc_upstream *upstream)
{
	if (upstream != NULL) {
		replica_set_fini(&upstream->set);
		free(upstream);
	}
}

const char *
grpc_upstream_name(const struct grpc_upstream *upstream)
{
	return upstream->set.replicas[0].url.text;
}

size_t
grpc_upstream_lane_count(const struct grpc_upstream_lane *lane)
{
	return lane->upstream->set.count;
}

const char *
grpc_upstream_lane_name(const struct grpc_upstream_lane *lane, size_t replica)
{
	return lane->upstream->set.replicas[replica].url.text;
}

struct replica_set *
grpc_upstream_replicas(struct grpc_upstream *upstream)
{
	return &upstream->set;
}

struct grpc_upstream_lane *
grpc_upstream_lane_new(struct grpc_upstream *upstream, struct loop *loop)
{
	struct grpc_upstream_lane *lane = memory_new(sizeof(*lane));

	lane->upstream = upstream;
	lane->clients = memory_array(upstream->set.count, sizeof(*lane->clients));
	lane->looks = memory_array(upstream->set.count, sizeof(*lane->looks));
	for (size_t i = 0; i < upstream->set.count; i++) {
		lane->clients[i] = http2_client_new(loop, &upstream->set.replicas[i].dial);
		lane->looks[i].replica = &upstream->set.replicas[i];
	}
	lane->timer = loop_timer_new(loop, on_timer, lane);
	loop_timer_set(lane->timer, 0);
	return lane;
}

void
grpc_upstream_lane_free(struct grpc_upstream_lane *lane)
{
	if (lane == NULL) {
		return;
	}
	for (size_t i = 0; i < lane->upstream->set.count; i++) {
		http2_client_free(lane->clients[i]);
	}
	loop_timer_free(lane->timer);
	free(lane->looks);
	free(lane->clients);
	free(lane);
}
