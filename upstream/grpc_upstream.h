/*
 * The servers behind, for gRPC: equal replicas, of which one has each call (replica.h), and another when it fails: if
 * nothing of the call can have run, or if its caller allows it to run twice.
 */
#ifndef HIPPOCAMP_UPSTREAM_GRPC_UPSTREAM_H
#define HIPPOCAMP_UPSTREAM_GRPC_UPSTREAM_H

#include "upstream/http2_client.h"
#include "upstream/upstream.h"

struct grpc_upstream;	   /* shared by all loops */
struct grpc_upstream_lane; /* the part of one loop */

/* `options`, whose addresses are all of gRPC, outlive the upstream. NULL: the message names the option. */
struct grpc_upstream *grpc_upstream_new(const struct upstream_options *options, struct error *error);
void grpc_upstream_free(struct grpc_upstream *upstream); /* after its lanes; NULL: none */

const char *grpc_upstream_name(const struct grpc_upstream *upstream); /* the first address */

/* The number of replicas, and the address of one for messages. */
size_t grpc_upstream_lane_count(const struct grpc_upstream_lane *lane);
const char *grpc_upstream_lane_name(const struct grpc_upstream_lane *lane, size_t replica);

/* For replica_metrics. */
struct replica_set *grpc_upstream_replicas(struct grpc_upstream *upstream);

struct grpc_upstream_lane *grpc_upstream_lane_new(struct grpc_upstream *upstream, struct loop *loop);
void grpc_upstream_lane_free(struct grpc_upstream_lane *lane); /* no call may be under way; NULL: none */

/*
 * One call. Ownership, threads and functions are those of `http2`, of which the caller fills the fields and `on_body`;
 * its pieces are sent by http2_call_send.
 */
struct grpc_upstream_call {
	struct http2_call http2; /* first */
	bool is_repeatable;	 /* the call may run twice */
	bool is_for_one;	 /* no other replica gets it than `only` */
	size_t only;

	void (*on_head)(struct grpc_upstream_call *call, const struct http2_field *fields, size_t count, bool ends);
	/* As of http2; `why` names the replica, too. */
	void (*done)(struct grpc_upstream_call *call, enum http2_outcome outcome, const struct http2_field *trailers,
		     size_t count, const char *why);

	/* Internal. */
	struct grpc_upstream_lane *lane;
	size_t replica;
	uint64_t tried; /* a bit for each replica */
};

void grpc_upstream_call_start(struct grpc_upstream_lane *lane, struct grpc_upstream_call *call);
void grpc_upstream_call_cancel(struct grpc_upstream_call *call);

#endif
