/*
 * One server as one lane sees it: its address, the lane's connections to it, which are made again whenever they end,
 * and the circuit breaker that keeps work away from it while it does not serve.
 *
 * `pool_size` connections carry look-ups that are expected to be small. One more is for look-ups that are expected to
 * be large, since a large value on its way delays everything behind it. One is for what is written, which a server may
 * hold back for seconds (CLIENT PAUSE WRITE, as in a failover) and then serves nothing else on that connection; another
 * is for what is written and large, so that leases and small values do not wait behind it. These three are made when
 * they are first wanted; until then what is written goes over the other one of the two, or else over one for look-ups.
 *
 * A connection that is idle is asked something from time to time, so that nobody on the way takes it for dead. One that
 * is closed while it was idle is no failure.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_NODE_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_NODE_H

#include "base/metric.h"
#include "caches/redis/connection/breaker.h"
#include "caches/redis/connection/connection.h"

struct redis_link;
struct redis_node;

/* What all nodes of a lane share. */
struct redis_nodes {
	const struct redis_settings *settings;
	const struct cache_host *host;
	struct redis_tls *tls; /* NULL: plain */
	struct redis_credentials *credentials;
	struct redis_cork *cork;
	bool announces; /* log changes of state; one lane of all does */
	bool read_only; /* see struct redis_connection_options */
	unsigned failures_told;
	uint64_t failure_told_ns;
	counter *breakings;
	counter *refusals; /* by enum redis_refusal */
	void *context;
	/* One connection more (1), or one less (-1). */
	void (*connected)(void *context, int change);
	/* A connection for small values is there. */
	void (*linked)(void *context, struct redis_link *link, const struct redis_greeting *greeting);
	/* It serves, for the first time or again. */
	void (*up)(void *context, struct redis_node *node);
	/* It serves no more. */
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
	unsigned plain;		   /* of the node, when it was made */
	bool asks_again;	   /* it was ended to be made with all there is to ask */
	bool suspect;		   /* it ended with commands on it, and none has been answered since */
	struct redis_request beat; /* the question that an idle connection is asked */
	bool beating;
	uint64_t used_ns; /* when a command was sent or answered last */
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
	char name[300]; /* of the address, for people */
	char zone[64];
	bool is_cluster; /* by its own word */
	/* How a key is removed only as long as it holds a value: Valkey has DELIFEQ since 9.0, Redis DELEX since 8.4.
	 */
	enum { REDIS_DEL, REDIS_DELIFEQ, REDIS_DELEX } exact_removal;
	/* What it is not asked, as it hangs up then: by 1 HELLO, by 2 CLIENT and INFO, too. */
	unsigned plain;
	uint64_t plain_ns;     /* since when */
	uint64_t plain_for_ns; /* until it is asked all again */
	uint64_t idled_ns;     /* when an idle connection was closed last */
	uint64_t beat_ms;      /* after how much idleness a connection is asked something */
	uint64_t renewed_ns;   /* see redis_node_renew */
	uint64_t renew_after_ns;
	struct breaker breaker;
	struct redis_request probe;
	bool probing;
	bool closing;
	void *timer;
	uint64_t answered_ns;
	uint64_t latency_ns; /* of answers; moving average, 0: not known yet */
	size_t pending;	     /* commands of the owner's on their way */
	size_t next;	     /* round robin */
	size_t ready;	     /* connections for small values */
	bool was_ready;
	char announced[512];	/* the failure that was logged last; empty while all is well */
	unsigned announcements; /* since it was well for a while */
	uint64_t announced_ns;
	uint64_t failed_ns;
	size_t link_count;
	struct redis_link links[]; /* pool_size of REDIS_SMALL, and one of each other use in their order */
};

/* NULL without memory. Connects by itself. */
struct redis_node *redis_node_new(struct redis_nodes *shared, const struct redis_address *address);

/* Not from a callback of one of its connections: its commands are answered before this returns. */
void redis_node_free(struct redis_node *node);

/* May it be given work? Its breaker is closed, and no answer is overdue by more than wait_timeout. */
bool redis_node_usable(const struct redis_node *node);

/* The connection for a command, or NULL where the node may not be given work. */
struct redis_link *redis_node_pick(struct redis_node *node, enum redis_use use);

/* Would a value that is to be stored now be sent? */
bool redis_node_takes_writes(const struct redis_node *node);

/* What became of a command: the breaker's business, and the owner's to tell, once for each. */
void redis_node_succeeded(struct redis_node *node, const struct redis_request *request);
void redis_node_failed(struct redis_node *node, const struct redis_request *request);
/* It refuses everything, for now. */
void redis_node_refused(struct redis_node *node, const char *why);

/* Gives all its connections up, because of `why`, and makes them again. */
void redis_node_reset(struct redis_node *node, const char *why);

/*
 * The address may lead to another server by now, because of `why`: it is looked up and connected to anew, at once and
 * then ever less often while that changes nothing.
 */
void redis_node_renew(struct redis_node *node, const char *why);

/* Connections that are there log in again. `user` may be NULL. */
void redis_node_log_in(struct redis_node *node, const char *user, const char *password);

void redis_node_catch_up(struct redis_node *node);

#endif
