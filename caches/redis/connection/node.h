/*
 * One server as one lane sees it: its address, the lane's connections to it, which are reopened whenever they end, and
 * the circuit breaker that keeps work away from it while it does not serve.
 *
 * `pool_size` connections carry look-ups that are expected to be small. One more carries look-ups that are expected to
 * be large, since a large value in flight delays everything behind it. One carries writes: a server may hold writes
 * back for seconds (CLIENT PAUSE WRITE, as in a failover), and then serves nothing else on that connection. Another
 * carries large writes, so that leases and small values do not wait behind them. These three are opened when first
 * needed. Until one for writes is open, its commands use the other one, or else a connection for look-ups.
 *
 * An idle connection is sent a query from time to time, so that nothing on the path takes it for dead. If an idle
 * connection is closed, that does not count as a failure.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_NODE_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_NODE_H

#include "base/metric.h"
#include "caches/redis/connection/breaker.h"
#include "caches/redis/connection/connection.h"
#include "caches/redis/connection/node_board.h"

struct redis_link;
struct redis_node;

/* What all nodes of a lane share. */
struct redis_nodes {
	const struct redis_settings *settings;
	const struct cache_host *host;
	struct redis_tls *tls; /* NULL: plain */
	struct redis_credentials *credentials;
	struct redis_cork *cork;
	bool announces; /* log changes of state: true for one lane of the store */
	bool read_only; /* see struct redis_connection_options */
	unsigned failures_told;
	uint64_t failure_told_ns;
	counter *breakings;
	counter *refusals; /* by enum redis_refusal */
	struct node_board *board;
	void *context;
	/* A connection has opened (1) or ended (-1). */
	void (*connected)(void *context, int change);
	/* A connection for small look-ups is ready. */
	void (*linked)(void *context, struct redis_link *link, const struct redis_greeting *greeting);
	/* The node serves, for the first time or again. */
	void (*up)(void *context, struct redis_node *node);
	/* The node serves no more. */
	void (*down)(void *context, struct redis_node *node);
	void (*pushed)(void *context, const struct redis_reply *reply);
};

enum redis_use { REDIS_SMALL, REDIS_LARGE, REDIS_WRITE, REDIS_WRITE_LARGE };

static inline bool
redis_use_writes(enum redis_use use)
{
	return use >= REDIS_WRITE;
}

struct redis_link {
	struct redis_node *node;
	enum redis_use use;
	struct redis_connection *connection; /* NULL: waits for its next attempt, or is not wanted yet */
	struct redis_tls_session *session;
	bool ready;
	bool proved;		   /* a command was answered since it became ready */
	bool failed;		   /* the last command was not answered, or not usefully */
	unsigned plain;		   /* that of the node when this connection was made */
	bool asks_again;	   /* closed in order to log in with all commands again */
	bool suspect;		   /* the last one ended after a failed command; none answered since */
	struct redis_request beat; /* the query that an idle connection is sent */
	bool beating;
	uint64_t used_ns; /* when it became ready or a command was answered */
	void *timer;
	unsigned attempts;
	uint64_t backoff_ms;
};

struct redis_node {
	TAILQ_ENTRY(redis_node) list; /* the owner's */
	bool kept;		      /* the owner's */
	bool inspected;		      /* the owner's */
	struct redis_nodes *shared;
	struct redis_address address;
	char name[300]; /* the address, for people */
	char zone[64];
	bool is_cluster; /* as the server says */
	/*
	 * The command that removes a key only if it holds a given value: Valkey has DELIFEQ since 9.0, Redis DELEX
	 * since 8.4.
	 */
	enum { REDIS_DEL, REDIS_DELIFEQ, REDIS_DELEX } exact_removal;
	/* What to leave out because the server hangs up on it. 1: HELLO; 2: CLIENT and INFO, too. */
	unsigned plain;
	uint64_t plain_ns;     /* when `plain` changed last */
	uint64_t plain_for_ns; /* how long until everything is tried again */
	uint64_t idled_ns;     /* when an idle connection was closed last */
	uint64_t beat_ms;      /* how long a connection is idle before it is sent a query */
	uint64_t renewed_ns;   /* see redis_node_renew */
	uint64_t renew_after_ns;
	struct breaker breaker;
	struct node_notice notice;
	struct redis_request probe;
	bool probing;
	bool closing;
	void *timer;
	uint64_t answered_ns;
	uint64_t latency_ns; /* of answers; moving average, 0: not known yet */
	size_t pending;	     /* the owner's commands in flight */
	size_t next;	     /* round robin */
	size_t ready;	     /* ready connections for small look-ups */
	bool was_ready;
	char announced[512];	/* the failure that was logged last; empty while all is well */
	unsigned announcements; /* lines logged since it was well for a while */
	uint64_t announced_ns;
	uint64_t failed_ns;
	size_t link_count;
	struct redis_link links[]; /* pool_size of REDIS_SMALL, then one of each other use, in order */
};

/* Returns NULL if memory runs out. The node connects by itself. */
struct redis_node *redis_node_new(struct redis_nodes *shared, const struct redis_address *address);

/* Must not be called from a callback of its connections. Its commands are answered before this returns. */
void redis_node_free(struct redis_node *node);

/*
 * Whether the node may be given work: its breaker is closed, and on some connection for small look-ups no answer is
 * overdue by wait_timeout.
 */
bool redis_node_usable(const struct redis_node *node);

/* Returns the connection for a command, or NULL if the node may not be given work. */
struct redis_link *redis_node_pick(struct redis_node *node, enum redis_use use);

/* Whether a value that is stored now would be sent. */
bool redis_node_takes_writes(const struct redis_node *node);

/* Report the outcome of a command to the breaker; the owner calls one of these once for each command. */
void redis_node_succeeded(struct redis_node *node, const struct redis_request *request);
void redis_node_failed(struct redis_node *node, const struct redis_request *request);
/* The node refuses everything for now, because of `why`. */
void redis_node_refused(struct redis_node *node, const char *why);

/* Closes all open connections, because of `why`, and opens them again. */
void redis_node_reset(struct redis_node *node, const char *why);

/*
 * Resolves the address and connects again, since it may lead to another server by now, because of `why`. The first call
 * acts at once, later calls ever less often while that changes nothing.
 */
void redis_node_renew(struct redis_node *node, const char *why);

/* Logs in again on all open connections. `user` may be NULL. */
void redis_node_log_in(struct redis_node *node, const char *user, const char *password);

void redis_node_catch_up(struct redis_node *node);

#endif
