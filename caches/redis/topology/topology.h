/*
 * Which servers there are, which one a command goes to, and sending it there, for one lane. Private to caches/redis.
 * topology.c: the state, and choosing a node. cluster.c and sentinel.c: learning the topology. route.c: sending
 * commands, following redirections. server.c: checking a server's configuration. The commands themselves belong to the
 * store (caches/redis/lane.h).
 */
#ifndef HIPPOCAMP_CACHES_REDIS_TOPOLOGY_TOPOLOGY_H
#define HIPPOCAMP_CACHES_REDIS_TOPOLOGY_TOPOLOGY_H

#include "caches/redis/connection/node.h"
#include "caches/redis/connection/refusal.h"
#include "caches/redis/topology/slots.h"

struct redis_sentinel;

#define REDIS_COMMAND_MAX ((size_t)1 << 30) /* bytes of one command in RESP */

TAILQ_HEAD(redis_node_list, redis_node);

/* The nodes that serve a part of the keys: all keys, or those in some of a cluster's slots. */
struct redis_shard {
	struct redis_node *primary; /* NULL: not known */
	struct redis_node *replicas[REDIS_REPLICA_MAX];
	size_t replica_count;
};

/* The owner embeds it, fills `shared`, `refusal_logged_ns` and `timer`, and calls topology_init. */
struct redis_topology {
	struct redis_nodes shared;
	_Atomic uint64_t *refusal_logged_ns; /* by enum redis_refusal; shared by all lanes of the store */
	void *timer;			     /* the owner's, of the host: it retires nodes and asks for the topology */
	struct buf command;		     /* scratch space of route.c */

	struct redis_node_list nodes;
	bool retires; /* nodes may have left the topology: free them */
	bool cluster;
	struct redis_shard *shards;
	size_t shard_count;
	uint16_t *shard_of;   /* index into `shards` by slot; NULL: no slots are known */
	uint64_t map_version; /* changes with `shards` and `shard_of` */
	unsigned turn;	      /* rotates among equally good nodes */
	bool suspects;	      /* the topology may have changed */
	uint64_t asked_ns;
	uint64_t dropped_ns;		    /* when a node outside the cluster was last dropped */
	struct redis_request slots_request; /* CLUSTER SLOTS */
	struct redis_node *slots_node;	    /* the node that it was sent to; NULL: none is in flight */
	struct redis_sentinel *sentinel;

	char complaint[512]; /* the last one that was logged */
	unsigned complaints;
	uint64_t complained_ns;
};

static inline void
topology_log(const struct redis_topology *topology, enum log_level level, const char *text)
{
	topology->shared.host->log(level, text);
}

/* --- topology.c --- */

void topology_init(struct redis_topology *topology);

/* Frees the nodes; commands in flight are answered with NULL. */
void topology_fini(struct redis_topology *topology);

/* Returns the node for keys of this slot, or NULL if none is usable. Writes go to the primary. */
struct redis_node *topology_node(struct redis_topology *topology, uint16_t slot, bool to_primary);

/* Returns the primary of a shard, or NULL if it is not usable. */
struct redis_node *topology_primary(struct redis_topology *topology, size_t shard);

/* Returns the node with this address, created if needed. NULL if memory runs out or there are too many nodes. */
struct redis_node *topology_find(struct redis_topology *topology, const struct redis_address *address);

/* Applies the slots that a cluster reported; takes them over. */
void topology_set_slots(struct redis_topology *topology, struct redis_slots *slots);

/* Records that this node serves the slot from now on. */
void topology_move_slot(struct redis_topology *topology, uint16_t slot, struct redis_node *node);

/* Sets a topology of one shard. */
void topology_set_server(struct redis_topology *topology, const struct redis_address *primary,
			 const struct redis_address *replicas, size_t replica_count);

/* Reports a sign that the topology has changed. It is asked for again, at once unless that was done just now. */
#define TOPOLOGY_ASK_INTERVAL_NS UINT64_C(500000000)
void topology_suspect(struct redis_topology *topology);

/* Removes a node that serves nothing of the cluster any more. */
void topology_drop(struct redis_topology *topology, struct redis_node *node);

/* Replaces a cluster by a single server, at the first seed. */
void topology_leave_cluster(struct redis_topology *topology);

/* Frees the nodes that are in no shard. Must not be called from a callback of theirs. */
void topology_retire(struct redis_topology *topology);

/* Returns a usable node, a different one each time if there are several, or NULL. */
struct redis_node *topology_some_node(struct redis_topology *topology);

/* Do all primaries serve? */
bool topology_serves(const struct redis_topology *topology);

/* Whether read_from wants replicas and some shard has no usable one. */
bool topology_lacks_replica(struct redis_topology *topology);

/* Logs a warning about the store, unless it repeats the last one or there were many of late. */
void topology_complain(struct redis_topology *topology, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- cluster.c --- */

void cluster_ask(struct redis_topology *topology, struct redis_node *node);

/* --- sentinel.c --- */

struct redis_sentinel *redis_sentinel_new(struct redis_topology *topology);
void redis_sentinel_free(struct redis_sentinel *sentinel);
void redis_sentinel_ask(struct redis_sentinel *sentinel);

/* --- route.c --- */

/* A command for the node that has a key. The caller embeds it and owns it until `done`. */
struct redis_command {
	struct redis_request request; /* first */
	struct redis_topology *topology;
	struct redis_node *node;
	uint16_t slot;
	bool to_primary;    /* even if it only reads */
	bool on_write_link; /* on the connection for writes: see enum redis_use */
	bool large;
	bool quiet;   /* a refusal is not logged here, but perhaps by the caller */
	uint8_t hops; /* redirections so far */
	/* Appends the command in RESP; called again for each redirection. */
	void (*write)(struct redis_command *command, struct buf *text);
	/* Called exactly once; NULL: no answer. An error has been counted and logged, a redirection followed. */
	void (*done)(struct redis_command *command, const struct redis_reply *reply);
};

/* The cluster slot of a key; 0 outside a cluster. */
uint16_t route_slot(const struct redis_topology *topology, struct bytes key);

/* Returns false if the command could not be sent; `done` is then not called. It is never called before this returns. */
bool route_send(struct redis_command *command);

/* Like route_send, but to this node, whichever has the key. */
bool route_send_to(struct redis_command *command, struct redis_node *node);

/*
 * Sends a command of `count` words, of which the second is a key, to its primary. `done` may be NULL; its `reply` is
 * NULL if there was no answer.
 */
typedef void (*route_words_fn)(void *argument, const struct redis_reply *reply);
enum route_refusal {
	ROUTE_TOLD, /* refusals are logged, as for any command */
	ROUTE_QUIET,
};
bool route_words(struct redis_topology *topology, enum route_refusal refusal, size_t count, const struct bytes *words,
		 route_words_fn done, void *argument);
/* Sends a command on this connection. Redirections are not followed, as it is meant for this server. */
bool route_words_on(struct redis_topology *topology, struct redis_link *link, enum route_refusal refusal, size_t count,
		    const struct bytes *words, route_words_fn done, void *argument);

static inline bool
reply_is(const struct redis_reply *reply, int type)
{
	return reply != NULL && reply->base.type == type;
}

static inline struct bytes
reply_text(const valkeyReply *reply)
{
	return bytes_make(reply->str, reply->len);
}

/* --- server.c --- */

/* Logs a warning if the server is not configured as a cache. */
void server_inspect(struct redis_topology *topology, struct redis_node *node);

#endif
