/* Which servers there are, what each is for, and which one a command goes to. */
#include "base/clock.h"
#include "caches/redis/topology/lane.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NODES_MAX 4096
#define COMPLAINTS_AT_ONCE 4
#define COMPLAINT_INTERVAL_NS UINT64_C(60000000000)

/* --- Nodes --- */

struct redis_node *
topology_find(struct cache_lane *lane, const struct redis_address *address)
{
	struct redis_node *node;
	size_t count = 0;

	TAILQ_FOREACH (node, &lane->nodes, list) {
		if (redis_address_equal(&node->address, address)) {
			return node;
		}
		count++;
	}
	node = count < NODES_MAX ? redis_node_new(&lane->shared, address) : NULL;
	if (node != NULL) {
		TAILQ_INSERT_TAIL(&lane->nodes, node, list);
	}
	return node;
}

void
topology_retire(struct cache_lane *lane)
{
	struct redis_node *node;
	struct redis_node *next;

	TAILQ_FOREACH (node, &lane->nodes, list) {
		node->kept = false;
	}
	for (size_t i = 0; i < lane->shard_count; i++) {
		if (lane->shards[i].primary != NULL) {
			lane->shards[i].primary->kept = true;
		}
		for (size_t k = 0; k < lane->shards[i].replica_count; k++) {
			lane->shards[i].replicas[k]->kept = true;
		}
	}
	for (node = TAILQ_FIRST(&lane->nodes); node != NULL; node = next) {
		next = TAILQ_NEXT(node, list);
		if (!node->kept) {
			TAILQ_REMOVE(&lane->nodes, node, list);
			redis_node_free(node);
		}
	}
}

void
topology_drop(struct cache_lane *lane, struct redis_node *node)
{
	for (size_t i = 0; i < lane->shard_count; i++) {
		struct redis_shard *shard = &lane->shards[i];
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
	lane->retires = true;
	topology_suspect(lane);
}

/* --- Choosing a node --- */

/* The replicas of a single server are unknown: only clusters and sentinels name them. */
static bool
reads_replicas(const struct cache_lane *lane)
{
	return lane->cache->settings->read_from != REDIS_READ_PRIMARY && (lane->cluster || lane->sentinel != NULL);
}

static struct redis_shard *
shard_of(const struct cache_lane *lane, uint16_t slot)
{
	uint16_t index = lane->shard_of == NULL ? 0 : lane->shard_of[slot];

	return index < lane->shard_count ? &lane->shards[index] : NULL;
}

static struct redis_node *
usable(struct redis_node *node)
{
	return node != NULL && redis_node_usable(node) ? node : NULL;
}

static bool
is_near(const struct cache_lane *lane, const struct redis_node *node)
{
	const char *zone = lane->cache->settings->availability_zone;

	return zone == NULL || strcmp(node->zone, zone) == 0;
}

/*
 * Whether `node` is the better one to read from: one in our zone, then, with read_from=nearest, the one that answers
 * faster.
 */
static bool
is_better(const struct cache_lane *lane, const struct redis_node *node, const struct redis_node *than)
{
	bool near = is_near(lane, node);

	if (than == NULL || near != is_near(lane, than)) {
		return than == NULL || near;
	}
	return lane->cache->settings->read_from == REDIS_READ_NEAREST && node->latency_ns < than->latency_ns;
}

static struct redis_node *
best_replica(struct cache_lane *lane, const struct redis_shard *shard)
{
	struct redis_node *best = NULL;

	lane->turn++;
	for (size_t i = 0; i < shard->replica_count; i++) {
		struct redis_node *node = usable(shard->replicas[(lane->turn + i) % shard->replica_count]);

		if (node != NULL && is_better(lane, node, best)) {
			best = node;
		}
	}
	return best;
}

struct redis_node *
topology_node(struct cache_lane *lane, uint16_t slot, bool writes)
{
	const struct redis_shard *shard = shard_of(lane, slot);
	struct redis_node *primary = shard == NULL ? NULL : usable(shard->primary);
	struct redis_node *replica;

	if (shard == NULL || writes || !reads_replicas(lane)) {
		return primary;
	}
	replica = best_replica(lane, shard);
	switch ((enum redis_read_from)lane->cache->settings->read_from) {
	case REDIS_READ_REPLICA:
		return replica;
	case REDIS_READ_PREFER_REPLICA:
		return replica == NULL ? primary : replica;
	case REDIS_READ_NEAREST:
		return primary == NULL || (replica != NULL && is_better(lane, replica, primary)) ? replica : primary;
	case REDIS_READ_PRIMARY:
		break;
	}
	return primary;
}

struct redis_node *
topology_primary(struct cache_lane *lane, size_t shard)
{
	return usable(lane->shards[shard].primary);
}

/* --- Applying what was learnt --- */

static struct redis_shard *
new_shards(struct cache_lane *lane, size_t count)
{
	struct redis_shard *shards = calloc(count, sizeof(*shards));

	if (shards != NULL) {
		free(lane->shards);
		lane->shards = shards;
		lane->shard_count = count;
		lane->map_version++;
	}
	return shards;
}

/* Defer topology work to the timer: a callback must not free nodes. */
static void
news(struct cache_lane *lane)
{
	lane->retires = true;
	lane->asked_ns = clock_now_ns();
	lane->host->timer_set(lane->timer, 0);
}

static void
fill_shard(struct cache_lane *lane, struct redis_shard *shard, const struct redis_slots_shard *from)
{
	shard->primary = topology_find(lane, &from->primary.address);
	if (shard->primary != NULL && from->primary.zone[0] != '\0') {
		memcpy(shard->primary->zone, from->primary.zone, sizeof(from->primary.zone));
	}
	for (size_t i = 0; i < from->replica_count && reads_replicas(lane); i++) {
		struct redis_node *node = topology_find(lane, &from->replicas[i].address);

		if (node != NULL) {
			if (from->replicas[i].zone[0] != '\0') {
				memcpy(node->zone, from->replicas[i].zone, sizeof(node->zone));
			}
			shard->replicas[shard->replica_count++] = node;
		}
	}
}

void
topology_set_slots(struct cache_lane *lane, struct redis_slots *slots)
{
	uint16_t *by_slot = malloc(sizeof(slots->shard_of));

	if (by_slot != NULL && new_shards(lane, slots->shard_count) != NULL) {
		memcpy(by_slot, slots->shard_of, sizeof(slots->shard_of));
		free(lane->shard_of);
		lane->shard_of = by_slot;
		for (size_t i = 0; i < slots->shard_count; i++) {
			fill_shard(lane, &lane->shards[i], &slots->shards[i]);
		}
		lane->cluster = true;
		news(lane);
		lane->complaint[0] = '\0';
	} else {
		free(by_slot);
	}
	redis_slots_fini(slots);
}

void
topology_move_slot(struct cache_lane *lane, uint16_t slot, struct redis_node *node)
{
	size_t index = 0;
	struct redis_shard *shards;

	lane->map_version++;
	if (lane->shard_of == NULL) {
		lane->cluster = true; /* learnt from MOVED; the slots follow */
		return;
	}
	while (index < lane->shard_count && lane->shards[index].primary != node) {
		index++;
	}
	if (index == REDIS_NO_SHARD) {
		return;
	}
	if (index == lane->shard_count) {
		shards = realloc(lane->shards, (index + 1) * sizeof(*shards));
		if (shards == NULL) {
			return;
		}
		shards[index] = (struct redis_shard){.primary = node};
		lane->shards = shards;
		lane->shard_count++;
	}
	lane->shard_of[slot] = (uint16_t)index;
}

void
topology_set_server(struct cache_lane *lane, const struct redis_address *primary, const struct redis_address *replicas,
		    size_t replica_count)
{
	struct redis_slots_shard from = {.primary.address = *primary};

	for (size_t i = 0; i < replica_count && i < REDIS_REPLICA_MAX; i++) {
		from.replicas[from.replica_count++].address = replicas[i];
	}
	if (new_shards(lane, 1) != NULL) {
		fill_shard(lane, lane->shards, &from);
		news(lane);
		lane->complaint[0] = '\0';
	}
}

void
topology_complain(struct cache_lane *lane, const char *format, ...)
{
	char text[sizeof(lane->complaint)];
	char line[1024];
	uint64_t now = clock_now_ns();
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!lane->announces || strcmp(text, lane->complaint) == 0 ||
	    (lane->complaints >= COMPLAINTS_AT_ONCE && now - lane->complained_ns < COMPLAINT_INTERVAL_NS)) {
		return;
	}
	lane->complaints++;
	lane->complained_ns = now;
	memcpy(lane->complaint, text, sizeof(text));
	(void)snprintf(line, sizeof(line), "cache 'redis': %s; requests are served without it and it is tried again",
		       text);
	lane_log(lane, LOG_WARNING, line);
}

void
topology_leave_cluster(struct cache_lane *lane)
{
	lane->cluster = false;
	free(lane->shard_of);
	lane->shard_of = NULL;
	topology_set_server(lane, &lane->cache->settings->seeds[0], NULL, 0);
}

/* --- The state of the topology --- */

struct redis_node *
topology_some_node(struct cache_lane *lane)
{
	struct redis_node *node;
	struct redis_node *found = NULL;
	unsigned skip = lane->turn++ % 8;

	TAILQ_FOREACH (node, &lane->nodes, list) {
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
topology_serves(const struct cache_lane *lane)
{
	for (size_t i = 0; i < lane->shard_count; i++) {
		if (usable(lane->shards[i].primary) == NULL) {
			return false;
		}
	}
	return lane->shard_count > 0;
}

bool
topology_lacks_replica(struct cache_lane *lane)
{
	for (size_t i = 0; i < lane->shard_count && reads_replicas(lane); i++) {
		if (best_replica(lane, &lane->shards[i]) == NULL) {
			return true;
		}
	}
	return false;
}

void
topology_suspect(struct cache_lane *lane)
{
	lane->suspects = true;
	if (clock_now_ns() - lane->asked_ns >= LANE_ASK_INTERVAL_NS) {
		lane->host->timer_set(lane->timer, 0); /* the timer asks: this may be a callback */
	}
}

void
topology_fini(struct cache_lane *lane)
{
	struct redis_node *node;

	/* Forget the shards first: commands that end while nodes are freed may lead to new ones. */
	lane->shard_count = 0;
	free(lane->shards);
	lane->shards = NULL;
	free(lane->shard_of);
	lane->shard_of = NULL;
	while ((node = TAILQ_FIRST(&lane->nodes)) != NULL) {
		TAILQ_REMOVE(&lane->nodes, node, list);
		redis_node_free(node);
	}
}
