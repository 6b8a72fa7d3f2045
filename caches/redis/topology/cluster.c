/* Redis Cluster: CLUSTER SLOTS maps slots to nodes. https://redis.io/docs/latest/commands/cluster-slots/ */
#include "base/clock.h"
#include "base/container_of.h"
#include "caches/redis/topology/lane.h"

#define DROP_INTERVAL_NS UINT64_C(2000000000) /* if all nodes refuse, do not recreate them all the time */

static void
on_refused(struct cache_lane *lane, const struct redis_node *node, const struct redis_reply *reply)
{
	if (lane->cache->settings->topology == REDIS_CLUSTER) {
		topology_complain(lane,
				  "cannot learn the cluster's slots from %s (%.200s): where it is no cluster, leave "
				  "cluster=true out; else let the user run CLUSTER SLOTS",
				  node->name, reply->base.str);
	}
}

static bool
may_drop(const struct cache_lane *lane)
{
	return lane->dropped_ns == 0 || clock_now_ns() - lane->dropped_ns >= DROP_INTERVAL_NS;
}

/* Whether the reply is "ERR This instance has cluster support disabled"; other refusals do not tell. */
static bool
is_no_cluster(const struct redis_reply *reply)
{
	return reply_is(reply, VALKEY_REPLY_ERROR) && redis_refusal_of(reply_text(&reply->base)) == REDIS_REFUSAL_OTHER;
}

static bool
has_primary(const struct cache_lane *lane)
{
	for (size_t i = 0; i < lane->shard_count; i++) {
		if (lane->shards[i].primary != NULL) {
			return true;
		}
	}
	return false;
}

static void
on_slots(struct redis_request *request, const struct redis_reply *reply)
{
	struct cache_lane *lane = container_of(request, struct cache_lane, slots_request);
	struct redis_node *node = lane->slots_node;
	struct redis_slots slots;

	lane->slots_node = NULL;
	if (is_no_cluster(reply) && lane->shard_of != NULL && may_drop(lane)) {
		/* The address now belongs to a server outside the cluster: ask other nodes, or the seeds. */
		lane->dropped_ns = clock_now_ns();
		topology_drop(lane, node);
		if (lane->cache->settings->topology != REDIS_CLUSTER && !has_primary(lane)) {
			topology_leave_cluster(lane);
		}
	}
	if (reply == NULL) {
		topology_suspect(lane);
	} else if (reply->base.type == VALKEY_REPLY_ERROR) {
		on_refused(lane, node, reply);
	} else if (redis_slots_read(&reply->base, &node->address, &slots)) {
		topology_set_slots(lane, &slots);
	} else {
		topology_complain(lane, "%s says that nobody serves any of the cluster's slots: see CLUSTER INFO there",
				  node->name);
	}
}

void
cluster_ask(struct cache_lane *lane, struct redis_node *node)
{
	struct redis_link *link = lane->slots_node != NULL ? NULL : redis_node_pick(node, REDIS_SMALL);

	lane->slots_request.done = on_slots;
	if (link != NULL && redis_connection_send(link->connection, &lane->slots_request,
						  bytes_text("*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"))) {
		lane->slots_node = node;
	}
}
