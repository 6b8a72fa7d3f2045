/* Redis Cluster: CLUSTER SLOTS maps slots to nodes. https://redis.io/docs/latest/commands/cluster-slots/ */
#include "base/clock.h"
#include "base/container_of.h"
#include "caches/redis/topology/topology.h"

#define DROP_INTERVAL_NS UINT64_C(2000000000) /* if all nodes refuse, do not recreate them all the time */

static void
on_refused(struct redis_topology *topology, const struct redis_node *node, const struct redis_reply *reply)
{
	if (topology->shared.settings->topology == REDIS_CLUSTER) {
		topology_complain(topology,
				  "cannot learn the cluster's slots from %s (%.200s): where it is no cluster, leave "
				  "cluster=true out; else let the user run CLUSTER SLOTS",
				  node->name, reply->base.str);
	}
}

static bool
may_drop(const struct redis_topology *topology)
{
	return topology->dropped_ns == 0 || clock_now_ns() - topology->dropped_ns >= DROP_INTERVAL_NS;
}

/* Whether the reply is "ERR This instance has cluster support disabled"; other refusals do not tell. */
static bool
is_no_cluster(const struct redis_reply *reply)
{
	return reply_is(reply, VALKEY_REPLY_ERROR) && redis_refusal_of(reply_text(&reply->base)) == REDIS_REFUSAL_OTHER;
}

static bool
has_primary(const struct redis_topology *topology)
{
	for (size_t i = 0; i < topology->shard_count; i++) {
		if (topology->shards[i].primary != NULL) {
			return true;
		}
	}
	return false;
}

static void
on_slots(struct redis_request *request, const struct redis_reply *reply)
{
	struct redis_topology *topology = container_of(request, struct redis_topology, slots_request);
	struct redis_node *node = topology->slots_node;
	struct redis_slots slots;

	topology->slots_node = NULL;
	if (is_no_cluster(reply) && topology->shard_of != NULL && may_drop(topology)) {
		/* The address now belongs to a server outside the cluster: ask other nodes, or the seeds. */
		topology->dropped_ns = clock_now_ns();
		topology_drop(topology, node);
		if (topology->shared.settings->topology != REDIS_CLUSTER && !has_primary(topology)) {
			topology_leave_cluster(topology);
		}
	}
	if (reply == NULL) {
		topology_suspect(topology);
	} else if (reply->base.type == VALKEY_REPLY_ERROR) {
		on_refused(topology, node, reply);
	} else if (redis_slots_read(&reply->base, &node->address, &slots)) {
		topology_set_slots(topology, &slots);
	} else {
		topology_complain(topology,
				  "%s says that nobody serves any of the cluster's slots: see CLUSTER INFO there",
				  node->name);
	}
}

void
cluster_ask(struct redis_topology *topology, struct redis_node *node)
{
	struct redis_link *link = topology->slots_node != NULL ? NULL : redis_node_pick(node, REDIS_SMALL);

	topology->slots_request.done = on_slots;
	if (link != NULL && redis_connection_send(link->connection, &topology->slots_request,
						  bytes_text("*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"))) {
		topology->slots_node = node;
	}
}
