#include "front/follower_internal.h"

#include "base/clock.h"

#include <stdio.h>

#define IDLE_NS UINT64_C(3000000000)

/* Reads which models a replica has, as an index. False: it was not reached, or has no list of them. */
static bool
read_index(struct follower *follower, size_t replica, struct buf *index)
{
	struct buf names;
	int status = follower_ask(follower, replica, "POST", "/v2/repository/index", index);
	bool good = status == 200;

	if (good || (status != 404 && status != 405 && status != 501)) {
		return good;
	}
	if (upstream_is_grpc(follower->options->upstream, replica)) {
		(void)snprintf(
			follower->why, sizeof(follower->why),
			"%s: its gRPC has no repository index; add the address of its HTTP, which may list its models",
			upstream_name(follower->options->upstream, replica));
		return false;
	}
	good = follower_ask(follower, replica, "GET", "/v2/models", &names) == 200;
	buf_clear(index);
	good = good && upstream_index_from_names(buf_bytes(&names), index);
	buf_fini(&names);
	return good;
}

/* Reads a replica's index and statistics. False: it was not reached. */
static bool
read_view(struct follower *follower, size_t replica, struct replica_view *view)
{
	struct replica_state *state = &follower->replicas[replica];
	struct error error;
	struct buf index;
	struct buf statistics;
	bool good = read_index(follower, replica, &index);

	buf_init(&statistics, FOLLOWER_DOCUMENT_MAX);
	if (good && state->has_statistics) {
		good = follower_ask(follower, replica, "GET", "/v2/models/stats", &statistics) == 200;
	}
	if (good && replica_view_read(view, buf_bytes(&index), buf_bytes(&statistics), &error) != STATUS_OK) {
		(void)snprintf(follower->why, sizeof(follower->why),
			       "%s: what it tells of its models is not understood; is this the %s port of a server "
			       "of the KServe v2 protocol?",
			       upstream_name(follower->options->upstream, replica), follower_port(follower, replica));
		good = false;
	}
	buf_fini(&index);
	buf_fini(&statistics);
	return good;
}

/* What the server tells of itself, after it was not reached. */
static bool
read_server(struct follower *follower, size_t replica)
{
	struct replica_state *state = &follower->replicas[replica];

	buf_fini(&state->metadata);
	if (follower_ask(follower, replica, "GET", "/v2", &state->metadata) != 200) {
		return false;
	}
	state->has_statistics = upstream_has_extension(buf_bytes(&state->metadata), "statistics");
	state->has_binary = upstream_is_grpc(follower->options->upstream, replica) ||
			    upstream_has_extension(buf_bytes(&state->metadata), "binary_tensor_data") ||
			    upstream_has_extension(buf_bytes(&state->metadata), "binary_data");
	return true;
}

/*
 * Has a connection been ended that was used a moment ago, as by a server that ends? Servers also end connections that
 * were idle for a while (uvicorn: 5 s); then the counters must show that they go on.
 */
static bool
looks_restarted(const struct replica_state *state, size_t losses)
{
	bool idle = clock_now_ns() - state->read_ns > IDLE_NS;

	/* Without counters, the owner's word counts. */
	return losses != state->losses &&
	       !(idle && (!state->has_statistics || replica_view_has_evidence(&state->view)));
}

static bool
is_followed(void *context, const char *name)
{
	return follower_find_model(context, name) != NULL;
}

/* A replica that was restarted or not reached may have other models; so may one that shows it. */
static void
judge(struct follower *follower, struct replica_state *state, struct replica_view *view, size_t losses)
{
	const char *why = NULL;

	if (!state->was_reached) {
		why = "a replica is back that was not reached";
	} else if (looks_restarted(state, losses)) {
		why = "a replica ended its connection, as when it is restarted";
	} else {
		if (follower->options->by_name) { /* models are released, too */
			replica_view_keep(&state->view, is_followed, follower);
		}
		why = replica_view_compare(&state->view, view, follower->options->by_name);
	}
	follower->moved = why != NULL ? why : follower->moved;
}

void
follower_poll_replica(struct follower *follower, size_t replica)
{
	struct replica_state *state = &follower->replicas[replica];
	struct replica_view view = {0};
	uint64_t start = clock_now_ns();
	size_t losses;

	if (start < state->retry_ns) {
		return;
	}
	if ((!state->was_reached && !read_server(follower, replica)) || !read_view(follower, replica, &view)) {
		state->was_reached = false;
		state->retry_ns = clock_now_ns() + (clock_now_ns() - start);
		return;
	}
	if (follower->options->by_name) {
		replica_view_keep(&view, is_followed, follower);
	}
	replica_view_count_answers(&view, upstream_ledger(follower->options->upstream), replica);
	losses = upstream_lane_losses(follower->lane, replica);
	if (state->was_reached && losses != state->losses && !read_server(follower, replica)) {
		state->was_reached = false;
		replica_view_fini(&view);
		return;
	}
	if (state->is_known) {
		judge(follower, state, &view, losses);
	} else {
		replica_view_begin(&view, upstream_ledger(follower->options->upstream), replica);
		if (group_is_joined(follower->group)) {
			follower->moved = "a replica was reached for the first time";
		}
	}
	state->losses = losses;
	state->was_reached = true;
	state->is_known = true;
	state->read_ns = clock_now_ns();
	follower->has_reached = true;
	replica_view_fini(&state->view);
	state->view = view;
}
