/*
 * The servers behind, for calls of HTTP (those of a server that is known by its gRPC alone are transcoded, see
 * transcoder.h): equal replicas, of which one has each call (replica.h), and another when it fails: if
 * nothing of the call can have run, or if its caller allows it to run twice. Then another one also gets it if the first
 * is silent for long: a hedged request (Dean and Barroso, "The Tail at Scale", CACM 2013).
 */
#ifndef HIPPOCAMP_UPSTREAM_UPSTREAM_H
#define HIPPOCAMP_UPSTREAM_UPSTREAM_H

#include "upstream/http_client.h"

#include <sys/queue.h>

struct upstream_options {
	const char *const *urls; /* see url.h */
	size_t url_count;
	struct tls_client_options tls;
	unsigned connect_timeout_s;
};

struct ledger;
struct replica_set;
struct work_options;
struct upstream;      /* shared by all loops */
struct upstream_lane; /* the part of one loop */

/* `options` and what they point to outlive the upstream. NULL: the message names the option. */
struct upstream *upstream_new(const struct upstream_options *options, struct error *error);
void upstream_free(struct upstream *upstream); /* after its lanes; NULL: none */

/* `work` may be NULL: all is done on the loop; else it outlives the lane. */
struct upstream_lane *upstream_lane_new(struct upstream *upstream, struct loop *loop, const struct work_options *work);
void upstream_lane_free(struct upstream_lane *lane); /* no call may be under way; NULL: none */

const struct work_options *upstream_lane_work(const struct upstream_lane *lane);
struct loop *upstream_lane_loop(const struct upstream_lane *lane);

/* The number of replicas, and the address of one for messages. */
size_t upstream_count(const struct upstream *upstream);
const char *upstream_name(const struct upstream *upstream, size_t replica);
const char *upstream_lane_name(const struct upstream_lane *lane, size_t replica);

size_t upstream_lane_count(const struct upstream_lane *lane);

/* Is the replica known by its gRPC alone? */
bool upstream_is_grpc(const struct upstream *upstream, size_t replica);
bool upstream_lane_is_grpc(const struct upstream_lane *lane, size_t replica);

/* For replica_metrics. */
struct replica_set *upstream_replicas(struct upstream *upstream);

/* The inference requests that were answered. Its caller adds them. */
struct ledger *upstream_ledger(const struct upstream *upstream);
struct ledger *upstream_lane_ledger(const struct upstream_lane *lane);

/* See http_client_losses; of this lane's connections to one replica. */
size_t upstream_lane_losses(const struct upstream_lane *lane, size_t replica);

/*
 * One request. Ownership and threads as of struct http_call, and so are the functions; none of them is called before
 * upstream_call_start has returned.
 */
struct upstream_call {
	const char *method;
	struct bytes target;  /* begins with a slash */
	struct bytes headers; /* lines, each with CRLF; without Host */
	const struct bytes *body;
	size_t body_count;
	size_t missing;	    /* bytes at the body's end that are not there yet: see upstream_call_more */
	bool is_repeatable; /* the request may run twice */
	bool begins_anew;   /* on_head may come again, if the response breaks off: what came of it is void */
	unsigned hedge_ms;  /* of silence, after which another attempt is made, at another replica; 0: none is */
	/*
	 * Where no other replica is good: may the same one be asked once more, beside the attempt that is silent? NULL:
	 * it may not. A response that stops in the middle begins anew all the same, if begins_anew is set.
	 */
	bool (*may_repeat)(struct upstream_call *call);
	ptrdiff_t only;	    /* the replica to ask; -1: any */
	unsigned timeout_s; /* see struct http_call */

	void (*on_head)(struct upstream_call *call, const struct http1_head *head);
	bool (*on_body)(struct upstream_call *call, struct bytes part);
	/* `why` names the replica, too. */
	void (*done)(struct upstream_call *call, enum http_outcome outcome, const char *why);

	/* Read only: the replica that has answered the call; or is_own: that was not asked (see struct http_call). */
	size_t replica;
	bool is_own;

	/* Internal. */
	struct upstream_attempt {
		struct http_call http;
		struct upstream_call *call;
		struct buf head;
		size_t replica;
		uint64_t begun_ns;
		bool is_under_way;
	} attempts[2];
	struct upstream_lane *lane;
	struct loop_timer *hedge; /* NULL: no more attempts because of time */
	uint64_t heard_ns;	  /* when the server was heard of last */
	bool has_repeated;	  /* an attempt was made at a replica that had the call before */
	bool is_refused;	  /* no replica has it: on lane->refused */
	uint64_t tried;		  /* a bit for each replica */
	bool is_answered;
	TAILQ_ENTRY(upstream_call) entry;
};

void upstream_call_start(struct upstream_lane *lane, struct upstream_call *call);
void upstream_call_cancel(struct upstream_call *call);
void upstream_call_more(struct upstream_call *call, size_t count); /* see http_call_more */
void upstream_call_resume(struct upstream_call *call);

#endif
