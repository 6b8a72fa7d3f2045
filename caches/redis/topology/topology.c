/* Which servers there are, what each is for, and which one a command goes to. */
#include "base/clock.h"
#include "caches/redis/topology/topology.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NODES_MAX 4096
#define COMPLAINTS_AT_ONCE 4
#define COMPLAINT_INTERVAL_NS UINT64_C(60000000000)

void
topology_init(struct redis_topology *topology)
{
	buf_init(&topology->command, REDIS_COMMAND_MAX);
	TAILQ_INIT(&topology->nodes);
}

/* --- Nodes --- */

struct redis_node *
topology_find(struct redis_topology *topology, const struct redis_address *address)
{
	struct redis_node *node;
	size_t count = 0;

	TAILQ_FOREACH (node, &topology->nodes, list) {
		if (redis_address_equal(&node->address, address)) {
			return node;
		}
		count++;
	}
	node = count < NODES_MAX ? redis_node_new(&topology->shared, address) : NULL;
	if (node != NULL) {
		TAILQ_INSERT_TAIL(&topology->nodes, node, list);
	}
	return node;
}

void
topology_retire(struct redis_topology *topology)
{
	struct redis_node *node;
	struct redis_node *next;

	TAILQ_FOREACH (node, &topology->nodes, list) {
		node->kept = false;
	}
	for (size_t i = 0; i < topology->shard_count; i++) {
		if (topology->shards[i].primary != NULL) {
			topology->shards[i].primary->kept = true;
		}
		for (size_t k = 0; k < topology->shards[i].replica_count; k++) {
			topology->shards[i].replicas[k]->kept = true;
		}
	}
	for (node = TAILQ_FIRST(&topology->nodes); node != NULL; node = next) {
		next = TAILQ_NEXT(node, list);
		if (!node->kept) {
			TAILQ_REMOVE(&topology->nodes, node, list);
			redis_node_free(node);
		}
	}
}

void
topology_drop(struct redis_topology *topology, struct redis_node *node)
{
	for (size_t i = 0; i < topology->shard_count; i++) {
		struct redis_shard *shard = &topology->shards[i];
		size_t kept = 0;

		if (shard->primary == node) {
			shard->primary = NULL;
		}
		for (size_t k = 0; k < shard->replica_count; k++) {
			if (shard->replicas[k] != node) {
				shard->replicas[kept++] = shard->replicas[k];
			}
		}
		shard->replica_count = kept;
	}
	topology->retires = true;
	topology_suspect(topology);
}

/* --- Choosing a node --- */

/* The replicas of a single server are unknown: only clusters and sentinels name them. */
static bool
reads_replicas(const struct redis_topology *topology)
{
	return topology->shared.settings->read_from != REDIS_READ_PRIMARY &&
	       (topology->cluster || topology->sentinel != NULL);
}

static struct redis_shard *
shard_of(const struct redis_topology *topology, uint16_t slot)
{
	uint16_t index = topology->shard_of == NULL ? 0 : topology->shard_of[slot];

	return index < topology->shard_count ? &topology->shards[index] : NULL;
}

static struct redis_node *
usable(struct redis_node *node)
{
	return node != NULL && redis_node_usable(node) ? node : NULL;
}

static bool
is_near(const struct redis_topology *topology, const struct redis_node *node)
{
	const char *zone = topology->shared.settings->availability_zone;

	return zone == NULL || strcmp(node->zone, zone) == 0;
}

/*
 * Whether `node` is the better one to read from: one in our zone, then, with read_from=nearest, the one that answers
 * faster.
 */
static bool
is_better(const struct redis_topology *topology, const struct redis_node *node, const struct redis_node *than)
{
	bool near = is_near(topology, node);

	if (than == NULL || near != is_near(topology, than)) {
		return than == NULL || near;
	}
	return topology->shared.settings->read_from == REDIS_READ_NEAREST && node->latency_ns < than->latency_ns;
}

static struct redis_node *
best_replica(struct redis_topology *topology, const struct redis_shard *shard)
{
	struct redis_node *best = NULL;

	topology->turn++;
	for (size_t i = 0; i < shard->replica_count; i++) {
		struct redis_node *node = usable(shard->replicas[(topology->turn + i) % shard->replica_count]);

		if (node != NULL && is_better(topology, node, best)) {
			best = node;
		}
	}
	return best;
}

struct redis_node *
topology_node(struct redis_topology *topology, uint16_t slot, bool to_primary)
{
	const struct redis_shard *shard = shard_of(topology, slot);
	struct redis_node *primary = shard == NULL ? NULL : usable(shard->primary);
	struct redis_node *replica;

	if (shard == NULL || to_primary || !reads_replicas(topology)) {
		return primary;
	}
	replica = best_replica(topology, shard);
	switch ((enum redis_read_from)topology->shared.settings->read_from) {
	case REDIS_READ_REPLICA:
		return replica;
	case REDIS_READ_PREFER_REPLICA:
		return replica == NULL ? primary : replica;
	case REDIS_READ_NEAREST:
		return primary == NULL || (replica != NULL && is_better(topology, replica, primary)) ? replica
												     : primary;
	case REDIS_READ_PRIMARY:
		break;
	}
	return primary;
}

struct redis_node *
topology_primary(struct redis_topology *topology, size_t shard)
{
	return usable(topology->shards[shard].primary);
}

/* --- Applying what was learnt --- */

static struct redis_shard *
new_shards(struct redis_topology *topology, size_t count)
{
	struct redis_shard *shards = calloc(count, sizeof(*shards));

	if (shards != NULL) {
		free(topology->shards);
		topology->shards = shards;
		topology->shard_count = count;
		topology->map_version++;
	}
	return shards;
}

/* Defer topology work to the timer: a callback must not free nodes. */
static void
news(struct redis_topology *topology)
{
	topology->retires = true;
	topology->asked_ns = clock_now_ns();
	topology->shared.host->timer_set(topology->timer, 0);
}

static void
fill_shard(struct redis_topology *topology, struct redis_shard *shard, const struct redis_slots_shard *from)
{
	shard->primary = topology_find(topology, &from->primary.address);
	if (shard->primary != NULL && from->primary.zone[0] != '\0') {
		memcpy(shard->primary->zone, from->primary.zone, sizeof(from->primary.zone));
	}
	for (size_t i = 0; i < from->replica_count && reads_replicas(topology); i++) {
		struct redis_node *node = topology_find(topology, &from->replicas[i].address);

		if (node != NULL) {
			if (from->replicas[i].zone[0] != '\0') {
				memcpy(node->zone, from->replicas[i].zone, sizeof(node->zone));
			}
			shard->replicas[shard->replica_count++] = node;
		}
	}
}

void
topology_set_slots(struct redis_topology *topology, struct redis_slots *slots)
{
	uint16_t *by_slot = malloc(sizeof(slots->shard_of));

	if (by_slot != NULL && new_shards(topology, slots->shard_count) != NULL) {
		memcpy(by_slot, slots->shard_of, sizeof(slots->shard_of));
		free(topology->shard_of);
		topology->shard_of = by_slot;
		for (size_t i = 0; i < slots->shard_count; i++) {
			fill_shard(topology, &topology->shards[i], &slots->shards[i]);
		}
		topology->cluster = true;
		news(topology);
		topology->complaint[0] = '\0';
	} else {
		free(by_slot);
	}
	redis_slots_fini(slots);
}

void
topology_move_slot(struct redis_topology *topology, uint16_t slot, struct redis_node *node)
{
	size_t index = 0;
	struct redis_shard *shards;

	topology->map_version++;
	if (topology->shard_of == NULL) {
		topology->cluster = true; /* learnt from MOVED; the slots follow */
		return;
	}
	while (index < topology->shard_count && topology->shards[index].primary != node) {
		index++;
	}
	if (index == REDIS_NO_SHARD) {
		return;
	}
	if (index == topology->shard_count) {
		shards = realloc(topology->shards, (index + 1) * sizeof(*shards));
		if (shards == NULL) {
			return;
		}
		shards[index] = (struct redis_shard){.primary = node};
		topology->shards = shards;
		topology->shard_count++;
	}
	topology->shard_of[slot] = (uint16_t)index;
}

void
topology_set_server(struct redis_topology *topology, const struct redis_address *primary,
		    const struct redis_address *replicas, size_t replica_count)
{
	struct redis_slots_shard from = {.primary.address = *primary};

	for (size_t i = 0; i < replica_count && i < REDIS_REPLICA_MAX; i++) {
		from.replicas[from.replica_count++].address = replicas[i];
	}
	if (new_shards(topology, 1) != NULL) {
		fill_shard(topology, topology->shards, &from);
		news(topology);
		topology->complaint[0] = '\0';
	}
}

void
topology_complain(struct redis_topology *topology, const char *format, ...)
{
	char text[sizeof(topology->complaint)];
	char line[1024];
	uint64_t now = clock_now_ns();
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!topology->shared.announces || strcmp(text, topology->complaint) == 0 ||
	    (topology->complaints >= COMPLAINTS_AT_ONCE && now - topology->complained_ns < COMPLAINT_INTERVAL_NS)) {
		return;
	}
	topology->complaints++;
	topology->complained_ns = now;
	memcpy(topology->complaint, text, sizeof(text));
	(void)snprintf(line, sizeof(line), "cache 'redis': %s; requests are served without it and it is tried again",
		       text);
	topology_log(topology, LOG_WARNING, line);
}

void
topology_leave_cluster(struct redis_topology *topology)
{
	topology->cluster = false;
	free(topology->shard_of);
	topology->shard_of = NULL;
	topology_set_server(topology, &topology->shared.settings->seeds[0], NULL, 0);
}

/* --- The state of the topology --- */

struct redis_node *
topology_some_node(struct redis_topology *topology)
{
	struct redis_node *node;
	struct redis_node *found = NULL;
	unsigned skip = topology->turn++ % 8;

	TAILQ_FOREACH (node, &topology->nodes, list) {
		if (redis_node_usable(node)) {
			found = node;
			if (skip-- == 0) {
				break;
			}
		}
	}
	return found;
}

bool
topology_serves(const struct redis_topology *topology)
{
	for (size_t i = 0; i < topology->shard_count; i++) {
		if (usable(topology->shards[i].primary) == NULL) {
			return false;
		}
	}
	return topology->shard_count > 0;
}

bool
topology_lacks_replica(struct redis_topology *topology)
{
	for (size_t i = 0; i < topology->shard_count && reads_replicas(topology); i++) {
		if (best_replica(topology, &topology->shards[i]) == NULL) {
			return true;
		}
	}
	return false;
}

void
topology_suspect(struct redis_topology *topology)
{
	topology->suspects = true;
	if (clock_now_ns() - topology->asked_ns >= TOPOLOGY_ASK_INTERVAL_NS) {
		topology->shared.host->timer_set(topology->timer, 0); /* the timer asks: this may be a callback */
	}
}

void
topology_fini(struct redis_topology *topology)
{
	struct redis_node *node;

	/* Forget the shards first: commands that end while nodes are freed may lead to new ones. */
	topology->shard_count = 0;
	free(topology->shards);
	topology->shards = NULL;
	free(topology->shard_of);
	topology->shard_of = NULL;
	while ((node = TAILQ_FIRST(&topology->nodes)) != NULL) {
		TAILQ_REMOVE(&topology->nodes, node, list);
		redis_node_free(node);
	}
	buf_fini(&topology->command);
}
