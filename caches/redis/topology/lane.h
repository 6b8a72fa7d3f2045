/*
 * A lane of the store in Redis, and who is where. Private to caches/redis. topology.c: which servers there are and
 * which one a command goes to; cluster.c and sentinel.c find that out. route.c: commands on their way, redirections
 * included. server.c: how a server is set up. What is asked by the commands is the store's (store.h).
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
	struct password_share *passwords; /* of password_command; NULL: there is none */
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

/* A part of the keys: all of them, or some of a cluster's slots. */
struct redis_shard {
	struct redis_node *primary; /* NULL: not known */
	struct redis_node *replicas[REDIS_REPLICA_MAX];
	size_t replica_count;
};

#define SIZE_HINTS 256

/* How large the values of a scope are. It may be wrong, and then costs only time. */
struct size_hint {
	uint32_t scope;
	uint32_t length;
};

struct cache_lane {
	struct cache *cache;
	const struct cache_host *host;
	bool announces; /* of all lanes, this one tells people */
	struct redis_credentials *credentials;
	struct redis_credentials_wish renewal; /* for connections that are there already; see password_refresh */
	uint64_t renewed_ns;
	struct redis_nodes shared;
	struct redis_cork cork;
	struct packing_lane *packing;
	struct buf command;
	struct buf key;

	struct redis_node_list nodes;
	bool retires; /* some may lead nowhere by now */
	bool cluster;
	struct redis_shard *shards;
	size_t shard_count;
	uint16_t *shard_of; /* by slot; NULL: there is one shard */
	uint64_t map_version;
	unsigned turn; /* of replicas that are as good as each other */
	void *timer;
	bool suspects; /* the topology may have changed */
	uint64_t asked_ns;
	uint64_t dropped_ns;		    /* a node of a cluster that is none any more */
	struct redis_request slots_request; /* CLUSTER SLOTS */
	struct redis_node *slots_node;	    /* … is on its way to it */
	struct redis_sentinel *sentinel;
	char complaint[512]; /* about the topology, said last */
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
	bool watch_again;	   /* there was news meanwhile */
	bool watch_told;	   /* that the server does not tell of purges */
	bool watch_refused_told;   /* … and may not be asked about them */
	uint64_t watch_refused_ns; /* when that was; 0: it may */
	uint64_t watch_checked_ns;
	struct purge_mark *purge_marks;
	size_t purge_mark_count;
	bool purges_known;

	uint64_t lease_token;  /* 0: not drawn yet */
	bool refused;	       /* the last value that was to be stored */
	bool trying;	       /* whether values are taken again */
	uint64_t insert_bytes; /* on their way */
	uint64_t asked_bytes;  /* of values asked for, as far as their lengths can be told */
	struct size_hint hints[SIZE_HINTS];
};

static inline void
lane_log(const struct cache_lane *lane, enum log_level level, const char *text)
{
	lane->host->log(level, text);
}

/* Counts the lane's connections for all to see, once keys can be made. */
static inline void
lane_show_connections(struct cache_lane *lane)
{
	bool usable = lane->secret_known || !lane->cache->secret_wanted;
	uint64_t shown = usable ? lane->connections : 0;

	counter_add(&lane->cache->connections, shown - lane->connections_shown);
	lane->connections_shown = shown;
}

/* --- topology.c --- */

/* The server for keys of this slot, or NULL where none can be asked. Writing goes to a primary. */
struct redis_node *topology_node(struct cache_lane *lane, uint16_t slot, bool writes);

/* The primary of one shard if it can be asked. */
struct redis_node *topology_primary(struct cache_lane *lane, size_t shard);

/* The node with this address, made if there is none. NULL without memory. */
struct redis_node *topology_find(struct cache_lane *lane, const struct redis_address *address);

/* What a cluster said; takes it over. */
void topology_set_slots(struct cache_lane *lane, struct redis_slots *slots);

/* A slot is served by this node from now on. */
void topology_move_slot(struct cache_lane *lane, uint16_t slot, struct redis_node *node);

/* A single shard. */
void topology_set_server(struct cache_lane *lane, const struct redis_address *primary,
			 const struct redis_address *replicas, size_t replica_count);

/* Something is not as it was believed to be: it is asked for again, at once if that was not just now. */
#define LANE_ASK_INTERVAL_NS UINT64_C(500000000)
void topology_suspect(struct cache_lane *lane);

/* A node serves nothing of the cluster any more. */
void topology_drop(struct cache_lane *lane, struct redis_node *node);

/* What was a cluster is a server alone by now, at the address to start from. */
void topology_leave_cluster(struct cache_lane *lane);

/* Ends the nodes that nothing leads to any more. Not from a callback of theirs. */
void topology_retire(struct cache_lane *lane);
void topology_fini(struct cache_lane *lane);

/* Any node that serves, another one each time, or NULL. */
struct redis_node *topology_some_node(struct cache_lane *lane);

/* Do all primaries serve? */
bool topology_serves(const struct cache_lane *lane);

/* Is a replica wanted of some shard, and none serves? */
bool topology_lacks_replica(struct cache_lane *lane);

/* Says what is wrong with the topology, once while it stays the same. */
void topology_complain(struct cache_lane *lane, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- cluster.c --- */

void cluster_ask(struct cache_lane *lane, struct redis_node *node);

/* --- sentinel.c --- */

struct redis_sentinel *redis_sentinel_new(struct cache_lane *lane);
void redis_sentinel_free(struct redis_sentinel *sentinel);
void redis_sentinel_ask(struct redis_sentinel *sentinel);

/* --- route.c --- */

/* A command for whoever has a key. Its maker embeds it, and owns it until `done`. */
struct redis_command {
	struct redis_request request; /* first */
	struct cache_lane *lane;
	struct redis_node *node;
	uint16_t slot;
	bool writes; /* to a primary */
	bool stores; /* … on the connection for what is written */
	bool large;
	bool quiet;   /* that it is refused is not logged: nobody's concern, or its maker's */
	uint8_t hops; /* redirections so far */
	/* Appends it in RESP; called again where it has to be sent again. */
	void (*write)(struct redis_command *command, struct buf *text);
	/* Exactly once; NULL: no answer. An error is counted and told, a redirection followed before. */
	void (*done)(struct redis_command *command, const struct redis_reply *reply);
};

/* The slot of a key; 0 where there are no slots. */
uint16_t route_slot(const struct cache_lane *lane, struct bytes key);

/* False if it could not be sent; `done` is not called then, and never before this returns. */
bool route_send(struct redis_command *command);

/* As route_send, to this node whoever has the key. */
bool route_send_to(struct redis_command *command, struct redis_node *node);

/* A command of some words, the second of them the key, to its primary. The answer may be of no interest: NULL. */
typedef void (*route_words_fn)(struct cache_lane *lane, const struct redis_reply *reply, void *argument);
enum route_refusal {
	ROUTE_TOLD, /* is logged, as for any command */
	ROUTE_QUIET,
};
bool route_words(struct cache_lane *lane, enum route_refusal refusal, size_t count, const struct bytes *words,
		 route_words_fn done, void *argument);
/* Where this leads is not followed, as it is meant for this server. */
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

/* Tells people if the server is not set up to be a cache. */
void server_inspect(struct cache_lane *lane, struct redis_node *node);

#endif
