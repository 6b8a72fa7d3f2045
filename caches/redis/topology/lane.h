/*
 * A lane of the store in Redis, and the topology that it knows. Private to caches/redis. topology.c: which servers
 * there are and which one a command goes to. cluster.c and sentinel.c: finding that out. route.c: sending commands,
 * following redirections. server.c: checking a server's configuration. The commands themselves belong to the store
 * (store.h).
 */
#ifndef HIPPOCAMP_CACHES_REDIS_TOPOLOGY_LANE_H
#define HIPPOCAMP_CACHES_REDIS_TOPOLOGY_LANE_H

#include "caches/redis/connection/node.h"
#include "caches/redis/connection/refusal.h"
#include "caches/redis/topology/slots.h"

struct redis_sentinel;

struct cache {
	struct redis_settings *settings;
	struct redis_tls *tls;
	struct packing *packing;
	struct password_share *passwords; /* for password_command; NULL: not given */
	bool secret_wanted;
	_Atomic bool announcer_taken;
	counter lookups;
	counter hits;
	counter failures;
	counter inserts;
	counter dropped;
	counter connections;
	counter breakings;
	counter refusals[REDIS_REFUSAL_COUNT];
	_Atomic uint64_t refusal_logged_ns[REDIS_REFUSAL_COUNT];
};

TAILQ_HEAD(redis_node_list, redis_node);

/* The nodes that serve a part of the keys: all keys, or those in some of a cluster's slots. */
struct redis_shard {
	struct redis_node *primary; /* NULL: not known */
	struct redis_node *replicas[REDIS_REPLICA_MAX];
	size_t replica_count;
};

#define SIZE_HINTS 256

/* The length in bytes of the last value of a scope, as a guess at the next. A wrong guess costs only time. */
struct size_hint {
	uint32_t scope;
	uint32_t length;
};

struct cache_lane {
	struct cache *cache;
	const struct cache_host *host;
	bool announces; /* the one lane of the store that logs */
	struct redis_credentials *credentials;
	struct redis_credentials_wish renewal; /* for open connections; see password_refresh */
	uint64_t renewed_ns;
	struct redis_nodes shared;
	struct redis_cork cork;
	struct packing_lane *packing;
	struct buf command;
	struct buf key;

	struct redis_node_list nodes;
	bool retires; /* nodes may have left the topology: free them */
	bool cluster;
	struct redis_shard *shards;
	size_t shard_count;
	uint16_t *shard_of; /* index into `shards` by slot; NULL: no slots are known */
	uint64_t map_version;
	unsigned turn; /* rotates among equally good nodes */
	void *timer;
	bool suspects; /* the topology may have changed */
	uint64_t asked_ns;
	uint64_t dropped_ns;		    /* when a node outside the cluster was last dropped */
	struct redis_request slots_request; /* CLUSTER SLOTS */
	struct redis_node *slots_node;	    /* the node that it was sent to; NULL: none is in flight */
	struct redis_sentinel *sentinel;
	char complaint[512]; /* the last one that was logged */
	bool read_from_told;
	unsigned complaints;
	uint64_t complained_ns;

	uint64_t connections;
	uint64_t connections_shown;
	bool secret_known;
	bool secret_asked;
	struct cache_secret secret;
	uint64_t secret_checked_ns;
	bool watch_asked;
	bool watch_again;	   /* the hash has changed meanwhile */
	bool watch_told;	   /* logged that CLIENT TRACKING was refused */
	bool watch_refused_told;   /* logged that HGETALL was refused */
	uint64_t watch_refused_ns; /* when HGETALL was refused; 0: it was not */
	uint64_t watch_checked_ns;
	struct purge_mark *purge_marks;
	size_t purge_mark_count;
	bool purges_known;

	uint64_t lease_token;  /* 0: not drawn yet */
	bool refused;	       /* the last value was not stored */
	bool trying;	       /* a probe is in flight; see redis_try_again */
	uint64_t insert_bytes; /* in flight, or being packed */
	uint64_t asked_bytes;  /* expected bytes of the values asked for */
	struct size_hint hints[SIZE_HINTS];
};

static inline void
lane_log(const struct cache_lane *lane, enum log_level level, const char *text)
{
	lane->host->log(level, text);
}

/* Publishes the number of the lane's connections, as 0 until keys can be made. */
static inline void
lane_show_connections(struct cache_lane *lane)
{
	bool usable = lane->secret_known || !lane->cache->secret_wanted;
	uint64_t shown = usable ? lane->connections : 0;

	counter_add(&lane->cache->connections, shown - lane->connections_shown);
	lane->connections_shown = shown;
}

/* --- topology.c --- */

/* Returns the node for keys of this slot, or NULL if none is usable. Writes go to the primary. */
struct redis_node *topology_node(struct cache_lane *lane, uint16_t slot, bool writes);

/* Returns the primary of a shard, or NULL if it is not usable. */
struct redis_node *topology_primary(struct cache_lane *lane, size_t shard);

/* Returns the node with this address, created if needed. NULL if memory runs out or there are too many nodes. */
struct redis_node *topology_find(struct cache_lane *lane, const struct redis_address *address);

/* Applies the slots that a cluster reported; takes them over. */
void topology_set_slots(struct cache_lane *lane, struct redis_slots *slots);

/* Records that this node serves the slot from now on. */
void topology_move_slot(struct cache_lane *lane, uint16_t slot, struct redis_node *node);

/* Sets a topology of one shard. */
void topology_set_server(struct cache_lane *lane, const struct redis_address *primary,
			 const struct redis_address *replicas, size_t replica_count);

/* Reports a sign that the topology has changed. It is asked for again, at once unless that was done just now. */
#define LANE_ASK_INTERVAL_NS UINT64_C(500000000)
void topology_suspect(struct cache_lane *lane);

/* Removes a node that serves nothing of the cluster any more. */
void topology_drop(struct cache_lane *lane, struct redis_node *node);

/* Replaces a cluster by a single server, at the first seed. */
void topology_leave_cluster(struct cache_lane *lane);

/* Frees the nodes that are in no shard. Must not be called from a callback of theirs. */
void topology_retire(struct cache_lane *lane);
void topology_fini(struct cache_lane *lane);

/* Returns a usable node, a different one each time if there are several, or NULL. */
struct redis_node *topology_some_node(struct cache_lane *lane);

/* Do all primaries serve? */
bool topology_serves(const struct cache_lane *lane);

/* Whether read_from wants replicas and some shard has no usable one. */
bool topology_lacks_replica(struct cache_lane *lane);

/* Logs a warning about the store, unless it repeats the last one or there were many of late. */
void topology_complain(struct cache_lane *lane, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- cluster.c --- */

void cluster_ask(struct cache_lane *lane, struct redis_node *node);

/* --- sentinel.c --- */

struct redis_sentinel *redis_sentinel_new(struct cache_lane *lane);
void redis_sentinel_free(struct redis_sentinel *sentinel);
void redis_sentinel_ask(struct redis_sentinel *sentinel);

/* --- route.c --- */

/* A command for the node that has a key. The caller embeds it and owns it until `done`. */
struct redis_command {
	struct redis_request request; /* first */
	struct cache_lane *lane;
	struct redis_node *node;
	uint16_t slot;
	bool writes; /* to a primary */
	bool stores; /* on the connection for writes */
	bool large;
	bool quiet;   /* a refusal is not logged here, but perhaps by the caller */
	uint8_t hops; /* redirections so far */
	/* Appends the command in RESP; called again for each redirection. */
	void (*write)(struct redis_command *command, struct buf *text);
	/* Called exactly once; NULL: no answer. An error has been counted and logged, a redirection followed. */
	void (*done)(struct redis_command *command, const struct redis_reply *reply);
};

/* The cluster slot of a key; 0 outside a cluster. */
uint16_t route_slot(const struct cache_lane *lane, struct bytes key);

/* Returns false if the command could not be sent; `done` is then not called. It is never called before this returns. */
bool route_send(struct redis_command *command);

/* Like route_send, but to this node, whichever has the key. */
bool route_send_to(struct redis_command *command, struct redis_node *node);

/*
 * Sends a command of `count` words, of which the second is a key, to its primary. `done` may be NULL; its `reply` is
 * NULL if there was no answer.
 */
typedef void (*route_words_fn)(struct cache_lane *lane, const struct redis_reply *reply, void *argument);
enum route_refusal {
	ROUTE_TOLD, /* refusals are logged, as for any command */
	ROUTE_QUIET,
};
bool route_words(struct cache_lane *lane, enum route_refusal refusal, size_t count, const struct bytes *words,
		 route_words_fn done, void *argument);
/* Sends a command on this connection. Redirections are not followed, as it is meant for this server. */
bool route_words_on(struct cache_lane *lane, struct redis_link *link, enum route_refusal refusal, size_t count,
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
void server_inspect(struct cache_lane *lane, struct redis_node *node);

#endif
