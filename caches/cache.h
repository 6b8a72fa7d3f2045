/*
 * The interface of response stores: the operations that every store implements (copy caches/null to start one) and the
 * services that its host provides.
 *
 * A store maps keys to immutable blobs and does not interpret them; whoever looks a blob up checks it. A failure in a
 * store never fails the request: a look-up that fails is a miss with `failed` set, an insert that fails is dropped and
 * counted.
 *
 * Threads: `open`, `close` and `statistics` serve the whole store; call `close` after every lane is detached,
 * `statistics` on any thread. Everything else goes through a lane, the part of a store that belongs to one thread:
 * attach, use and detach it on that thread only, or on several threads that take turns under a lock, each of which runs
 * the callbacks that the lane gave its host. Calls that answer immediately (`lookup` and `insert` of a synchronous
 * store, `peek`) keep nothing in the lane and may be made on any thread at any time.
 */
#ifndef HIPPOCAMP_CACHES_CACHE_H
#define HIPPOCAMP_CACHES_CACHE_H

#include "base/blob.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/option.h"

#include <sys/socket.h>

struct cache; /* neither is defined: each store casts them to structs of its own, such as local_cache and local_lane */
struct cache_lane;

/* `scope` is "model:version:fingerprint", printable, without spaces; it outlives the call that takes the key. */
struct cache_key {
	struct digest_value digest;
	struct bytes scope;
};

/* What of a look-up goes into the statistics, and counts for the entries that it finds. */
enum cache_count {
	CACHE_COUNT_ALL,
	CACHE_COUNT_HITS,    /* the keys missed in a look-up just now, and were counted then */
	CACHE_COUNT_NOTHING, /* nor hits: they were counted just now, too, or serve no request */
};

/*
 * One look-up of `count` keys. The caller keeps the struct and everything that it points to valid until the answer,
 * which comes exactly once: either cache_ops.lookup returns true, or `done` is called on the lane's thread after lookup
 * has returned. A look-up cannot be cancelled: a caller that stops waiting still keeps the struct until `done`.
 */
struct cache_lookup {
	const struct cache_key *keys;
	size_t count;
	struct blob **values;	  /* in: NULLs; out: for each key that was found, a reference that the caller owns */
	uint64_t now_ns;	  /* in: clock_now_ns(), read just before */
	enum cache_count counted; /* in */
	size_t expected;	  /* in: bytes of each value; 0: unknown, and the store may estimate */
	bool failed;		  /* out: some key could not be looked up (store down, stalled, timed out) */
	bool corrupt;		  /* out: some key holds something that cannot be one of our values */
	void (*done)(struct cache_lookup *lookup);
	size_t unanswered; /* for the store: parts not answered yet */
	uint64_t purges;   /* for the store, if it has `confirm`: number of purges when this began */
	uint64_t inserts;  /* for the store, likewise: number of inserts */
};

/*
 * What an insert does with an entry that its key already has; one past its expiry counts as none. An entry that is to
 * be replaced goes even if the new one cannot be stored, since it would hide that.
 */
enum cache_insert_mode {
	CACHE_PUT,     /* replace it */
	CACHE_REPLACE, /* replace it; without one, store nothing: for a tier in front */
	CACHE_KEEP,    /* keep it; store nothing */
};

/* One insert. Ownership and answer are as for a look-up. `done` means: stored, or given up and counted. */
struct cache_insert {
	const struct cache_key *key;
	struct blob *value;
	uint64_t ttl_ms;   /* 0: until evicted */
	uint64_t fresh_ms; /* fresh part of ttl_ms, 0: all; a front tier drops the entry then, as a newer may exist */
	uint64_t cost_us;  /* microseconds that computing the value took; 0: not known. A costly value is kept longer */
	enum cache_insert_mode mode;
	void (*done)(struct cache_insert *insert);
};

/*
 * Removes the entries of a model, of one version of it, or all. Ownership and answer are as for a look-up. Entries that
 * are stored during a purge may stay.
 */
struct cache_purge {
	struct bytes model;   /* empty: all models */
	struct bytes version; /* digits; empty: all versions of the model */
	uint64_t removed;     /* out: number of entries */
	bool failed;	      /* out: the store was not reached, or the purge is incomplete */
	void (*done)(struct cache_purge *purge);
};

enum cache_lease_result {
	CACHE_LEASE_GRANTED,
	CACHE_LEASE_HELD,    /* by another server, which will store its answer soon */
	CACHE_LEASE_UNKNOWN, /* the store cannot tell */
};

/*
 * The right to compute the answer to a key, which at most one of the servers that share the store holds. Ownership and
 * answer are as for a look-up. A lease that is not released expires; a lost lease costs no more than a second run.
 */
struct cache_lease {
	const struct cache_key *key;
	uint64_t term_ms;		/* in: how long it lasts */
	enum cache_lease_result result; /* out */
	void (*done)(struct cache_lease *lease);
};

/* Splits a scope into model and version, from its end, since a model's name may contain colons. */
static inline void
cache_scope_split(struct bytes scope, struct bytes *model, struct bytes *version)
{
	size_t ends[2] = {0, 0};
	size_t found = 0;

	for (size_t i = scope.length; i > 0 && found < 2; i--) {
		if (scope.at[i - 1] == ':') {
			ends[found++] = i - 1;
		}
	}
	*model = bytes_make(scope.at, ends[1]);
	*version = found < 2 ? bytes_make(NULL, 0) : bytes_make(scope.at + ends[1] + 1, ends[0] - ends[1] - 1);
}

static inline bool
cache_purge_covers(const struct cache_purge *purge, struct bytes model, struct bytes version)
{
	return purge->model.length == 0 || (bytes_equal(model, purge->model) &&
					    (purge->version.length == 0 || bytes_equal(version, purge->version)));
}

/* Random bytes that all servers that use this store share; see cache_ops.secret. */
struct cache_secret {
	uint64_t generation; /* changes when the bytes do */
	uint8_t bytes[32];
};

struct cache_statistics {
	uint64_t capacity_bytes; /* 0: elsewhere, or not bounded in bytes; then the metrics page has no nv_cache_* */
	uint64_t used_bytes;
	uint64_t entries;
	uint64_t lookups;  /* keys; of CACHE_COUNT_ALL alone */
	uint64_t hits;	   /* of CACHE_COUNT_NOTHING none */
	uint64_t failures; /* keys whose look-up could not be made or answered */
	uint64_t inserts;
	uint64_t dropped; /* inserts not made: too large, too many waiting, store down or full; not: against the mode */
	uint64_t evictions;   /* to make room; not: expired, replaced, purged */
	uint64_t connections; /* open ones, for stores that have them */
};

/* A server that holds entries, as all lanes of the store see it. */
struct cache_node {
	const char *name; /* its address; valid during the call */
	uint64_t lanes;	  /* that use it */
	uint64_t connected_lanes;
	uint64_t open_breakers; /* lanes that give it no work, because it failed */
	uint64_t connections;	/* open ones, for small look-ups */
	double round_trip_us;	/* how long its answers take lately, as a mean of the lanes; 0: not known */
};

/* Work that a lane hands to another thread (cache_host.offload). The lane embeds it. */
struct cache_work {
	void (*run)(struct cache_work *work);  /* on another thread */
	void (*done)(struct cache_work *work); /* then, on the lane's thread */
};

#define CACHE_READ 1U
#define CACHE_WRITE 2U

/*
 * The services that a lane may use, on its own thread. The host calls the lane's callbacks on that thread, after the
 * call that registered them has returned. Watches, timers and pending name look-ups belong to the lane.
 */
struct cache_host {
	void *context;
	void *(*watch_new)(void *context, int fd, void (*fn)(void *argument, unsigned events), void *argument);
	void (*watch_set)(void *watch, unsigned events);
	void (*watch_free)(void *watch);
	void *(*timer_new)(void *context, void (*fn)(void *argument), void *argument);
	void (*timer_set)(void *timer, uint64_t after_ms);
	void (*timer_free)(void *timer);
	/*
	 * Resolves a name and calls `done` exactly once, even if the lane is detached first. If the address is NULL,
	 * `failure` says why. If a name has several addresses, `attempt`, modulo their number, selects one.
	 */
	void (*resolve)(void *context, const char *name, uint16_t port, unsigned attempt,
			void (*done)(void *argument, const struct sockaddr *address, socklen_t length,
				     const char *failure),
			void *argument);
	/*
	 * Runs work that would block the lane's thread for too long; `size`, in bytes, tells how long it takes. `done`
	 * is called exactly once, after this has returned and before the lane is detached. NULL function: there are no
	 * such threads, and the lane runs the work itself.
	 */
	void (*offload)(void *context, struct cache_work *work, size_t size);
	void *offload_context;
	void (*log)(enum log_level level, const char *text);
	/*
	 * Reports a purge by another server: model and version as in struct cache_purge, `at_ms` in milliseconds since
	 * 1970 by that server's clock. `at_ms` 0: the store has lost the record of this purge, and perhaps those of
	 * later ones. NULL: the host wants no reports. Called with `listener`.
	 */
	void (*purged)(void *listener, struct bytes model, struct bytes version, uint64_t at_ms);
	void *listener;
	bool endless; /* entries have no TTL, as a rule */
};

struct cache_ops {
	const char *name;
	bool synchronous;      /* look-ups and inserts are answered before they return */
	bool untrusted;	       /* values come from outside this process; whoever looks one up has to check it */
	int64_t default_ttl_s; /* 0: none */
	const struct option_table *options; /* NULL: none */
	size_t settings_size;		    /* bytes of the struct that `options` fill */

	/*
	 * Takes over `settings` (from malloc, filled by `options`), even on failure. `secret_wanted`: keep a shared
	 * secret, if the store can. NULL on failure.
	 */
	struct cache *(*open)(void *settings, bool secret_wanted, struct error *error);
	void (*close)(struct cache *cache);

	/* `host` outlives the lane. NULL on failure. */
	struct cache_lane *(*attach)(struct cache *cache, const struct cache_host *host);
	/* Outstanding look-ups and inserts are answered (as failed) before this returns. */
	void (*detach)(struct cache_lane *lane);

	/*
	 * The shared secret. NULL function: this store shares none, and the caller draws its own. NULL result: not
	 * known yet, so no key can be made. The result is valid until control returns to the host.
	 */
	const struct cache_secret *(*secret)(struct cache_lane *lane);

	bool (*lookup)(struct cache_lane *lane, struct cache_lookup *lookup);
	/*
	 * Looks keys up in the part of the store that answers immediately; `done` is not called. These values need no
	 * check, whatever `untrusted` says. The caller then looks up, with CACHE_COUNT_HITS, the keys that have no
	 * usable value; that look-up asks only the rest of the store. NULL: no part answers immediately.
	 */
	void (*peek)(struct cache_lane *lane, struct cache_lookup *lookup);
	/*
	 * Tells the store that a value which `lookup` found was checked and stays valid for `ttl_ms` (0: without end),
	 * so that the store may keep it where `peek` finds it. `cost_us` is as in cache_insert. Call it after the
	 * answer (from `done`, say), while the look-up's keys and that value are valid. NULL: the store has no use for
	 * it.
	 */
	void (*confirm)(struct cache_lane *lane, const struct cache_lookup *lookup, size_t index, uint64_t ttl_ms,
			uint64_t cost_us);
	/*
	 * Processes replies that have arrived, without waiting; may answer look-ups from inside the call. Call it
	 * before a look-up is given up as late, so that a busy thread does not mistake its own delay for the store's.
	 * NULL: no replies arrive.
	 */
	void (*catch_up)(struct cache_lane *lane);
	bool (*insert)(struct cache_lane *lane, struct cache_insert *insert);
	/* Removes an entry that is not valid. Not answered. NULL: the store cannot, or all its entries are valid. */
	void (*remove)(struct cache_lane *lane, const struct cache_key *key);
	/* NULL: entries cannot be removed. */
	bool (*purge)(struct cache_lane *lane, struct cache_purge *purge);
	/* NULL functions: no leases. A release is not answered, and has no effect on an expired lease. */
	bool (*lease)(struct cache_lane *lane, struct cache_lease *lease);
	void (*release)(struct cache_lane *lane, const struct cache_key *key);
	/* Closes and reopens the connections, as a value of another key has arrived. NULL: there are none. */
	void (*reset_connections)(struct cache_lane *lane);
	/*
	 * The reason why an answer that is stored now would not be kept, as far as the store knows: a token for the
	 * detail of Cache-Status. NULL result: none known. NULL function: there never is one.
	 */
	const char *(*trouble)(struct cache_lane *lane);
	/* Bytes of the longest value that the store takes. NULL: no known limit. Any thread. */
	size_t (*value_max)(const struct cache *cache);
	void (*statistics)(struct cache *cache, struct cache_statistics *statistics);
	/* More metric families, of this kind of store only. NULL: none. Any thread. */
	void (*metrics)(struct cache *cache, const struct metric_sink *sink);
	/* Tells of each server that the store uses; `tell` must not call the store. NULL: it uses none. Any thread. */
	void (*nodes)(struct cache *cache, void (*tell)(void *context, const struct cache_node *node), void *context);

	/* One line for people, without secrets: "local, 64 MB". */
	void (*describe)(struct cache *cache, char *text, size_t size);
};

/* Does the store, or a part of it, answer look-ups immediately? */
static inline bool
cache_tells_at_once(const struct cache_ops *ops)
{
	return ops->synchronous || ops->peek != NULL;
}

#endif
