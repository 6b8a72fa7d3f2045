/*
 * A store of responses: the table that every cache implements (copy caches/null to start one) and the table of what
 * its host gives it.
 *
 * A store maps keys to immutable blobs. It knows nothing of what is in a blob; whoever looks one up checks it. Nothing
 * that goes wrong in a store is an error of the request: a look-up that fails is a miss with `failed` set, an insert
 * that fails is dropped and counted.
 *
 * Threads: `open`, `close` and `statistics` are for the whole store; close comes after every lane is detached,
 * statistics may be called on any thread. Everything else goes through a lane, the part of a store that belongs to one
 * thread: it is attached, used and detached on that thread only, or on several that take turns, one at a time, of which
 * each calls the functions that the lane gave its host. What tells at once (`lookup` and `insert` of a synchronous
 * store, `peek`) keeps nothing in the lane and may be called on any thread at any time.
 */
#ifndef HIPPOCAMP_CACHES_CACHE_H
#define HIPPOCAMP_CACHES_CACHE_H

#include "base/blob.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/option.h"

#include <sys/socket.h>

struct cache;
struct cache_lane;

/* `scope` is "model:version:fingerprint", printable, without spaces; it outlives the call that takes the key. */
struct cache_key {
	struct digest_value digest;
	struct bytes scope;
};

/*
 * One look-up of `count` keys. The caller owns the struct and everything it points to until the answer, which it gets
 * exactly once: either cache_ops.lookup returns true, or `done` is called on the lane's thread, never before lookup
 * returns. There is no cancelling: a caller that stops waiting keeps the struct alive until `done`.
 */
struct cache_lookup {
	const struct cache_key *keys;
	size_t count;
	struct blob **values; /* in: NULLs; out: a reference, the caller's, for each key that was found */
	uint64_t now_ns;      /* in: clock_now_ns(), read just before */
	bool repeated;	      /* in: asked just now and missed, so not to be counted again */
	bool uncounted;	      /* in: found just now, too, and not good enough: not to be counted as hits, either */
	size_t expected;      /* in: bytes of each value; 0: the caller cannot tell, and the store may guess */
	bool failed;	      /* out: some key could not be looked up (store down, stalled, timed out) */
	bool corrupt;	      /* out: under some key there is what cannot be a value of ours */
	void (*done)(struct cache_lookup *lookup);
	size_t unanswered; /* the store's */
	uint64_t purges;   /* the store's, if it has `confirm`: how many there had been when this began */
	uint64_t inserts;  /* … and of these */
};

/* What becomes of an entry that is there already. */
enum cache_insert_mode {
	CACHE_PUT,     /* it gives way */
	CACHE_REPLACE, /* the same, and where there is none nothing is stored: for a tier in front */
	CACHE_KEEP,    /* it stays, and nothing is stored */
};

/* One insert; owned and answered as a look-up is. `done` means: stored, or given up and counted. */
struct cache_insert {
	const struct cache_key *key;
	struct blob *value;
	uint64_t ttl_ms;   /* 0: as long as there is room */
	uint64_t fresh_ms; /* of that, 0: all; then another server may have a newer one, so tiers in front forget it */
	uint64_t cost_us;  /* what the value took to compute; 0: not known. What costs much is kept longer */
	enum cache_insert_mode mode;
	void (*done)(struct cache_insert *insert);
};

/*
 * Removes what is stored for a model, for one version of it, or everything. Owned and answered as a look-up is. What is
 * stored meanwhile may stay.
 */
struct cache_purge {
	struct bytes model;   /* empty: all */
	struct bytes version; /* digits; empty: all of the model's */
	uint64_t removed;     /* out: entries */
	bool failed;	      /* out: the store could not be reached, or not to the end */
	void (*done)(struct cache_purge *purge);
};

enum cache_lease_result {
	CACHE_LEASE_GRANTED,
	CACHE_LEASE_HELD,    /* by another server: its answer will be in the store soon */
	CACHE_LEASE_UNKNOWN, /* the store cannot tell */
};

/*
 * The right to compute the answer to a key, which one at a time of all servers that share the store has. Owned and
 * answered as a look-up is. A lease that is not released runs out; nothing but a second run comes of a lost one.
 */
struct cache_lease {
	const struct cache_key *key;
	uint64_t term_ms;		/* in: how long it lasts */
	enum cache_lease_result result; /* out */
	void (*done)(struct cache_lease *lease);
};

/* Takes a scope apart; model names may hold colons. */
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

/* A random text that all servers sharing this store share; see cache_ops.secret. */
struct cache_secret {
	uint64_t generation; /* changes when the bytes do */
	uint8_t bytes[32];
};

struct cache_statistics {
	uint64_t capacity_bytes; /* 0: unknown, the store is elsewhere */
	uint64_t used_bytes;
	uint64_t entries;
	uint64_t lookups; /* keys */
	uint64_t hits;
	uint64_t failures; /* look-ups that could not be made or answered */
	uint64_t inserts;
	uint64_t dropped; /* inserts not made: too large, too many waiting, store down or full */
	uint64_t evictions;
	uint64_t connections; /* open ones, for stores that have them */
};

/* What a lane has done elsewhere. Its owner embeds it. */
struct cache_work {
	void (*run)(struct cache_work *work);  /* on another thread */
	void (*done)(struct cache_work *work); /* on the lane's, after that */
};

#define CACHE_READ 1U
#define CACHE_WRITE 2U

/*
 * What a lane may ask of its host, on the lane's thread. Functions given here are called on that thread, never before
 * the call that gave them returns. Watches, timers and names being resolved belong to the lane.
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
	 * Exactly one call of `done`, even where the lane is detached first. NULL address: `failure` says why. Where a
	 * name has several addresses, `attempt` says which, counted round.
	 */
	void (*resolve)(void *context, const char *name, uint16_t port, unsigned attempt,
			void (*done)(void *argument, const struct sockaddr *address, socklen_t length,
				     const char *failure),
			void *argument);
	/*
	 * For what would keep the lane's thread from everything else for too long; `size`, in bytes, tells how long.
	 * `done` is called exactly once, never before this returns; the lane is not detached before that. NULL
	 * function: there is nobody, and the lane does it itself.
	 */
	void (*offload)(void *context, struct cache_work *work, size_t size);
	void *offload_context;
	void (*log)(enum log_level level, const char *text);
	/*
	 * Another server purged this (as in struct cache_purge) at `at_ms` by its clock, since 1970; or the store has
	 * lost the word of it, and with it perhaps the words of later purges (0). NULL: the host does not care. Called
	 * with `listener`.
	 */
	void (*purged)(void *listener, struct bytes model, struct bytes version, uint64_t at_ms);
	void *listener;
	bool endless; /* what is stored has no TTL, as a rule */
};

struct cache_ops {
	const char *name;
	bool synchronous;      /* look-ups are always answered at once */
	bool untrusted;	       /* values come from outside this process, so whoever gets one has to check it */
	int64_t default_ttl_s; /* 0: none */
	const struct option_table *options; /* NULL: none */
	size_t settings_size;		    /* of the struct that `options` fill */

	/*
	 * The store takes over `settings` (heap, filled by `options`) even on failure. `secret_wanted`: keep a shared
	 * secret if you can. NULL on failure.
	 */
	struct cache *(*open)(void *settings, bool secret_wanted, struct error *error);
	void (*close)(struct cache *cache);

	/* `host` outlives the lane. */
	struct cache_lane *(*attach)(struct cache *cache, const struct cache_host *host);
	/* Outstanding look-ups and inserts are answered (as failed) before this returns. */
	void (*detach)(struct cache_lane *lane);

	/*
	 * NULL function: this store shares no secret, the caller draws its own. NULL result: not known yet, so no key
	 * can be made. The result is valid until control returns to the host.
	 */
	const struct cache_secret *(*secret)(struct cache_lane *lane);

	bool (*lookup)(struct cache_lane *lane, struct cache_lookup *lookup);
	/*
	 * What can be told at once, for stores of which only a part is immediate; `done` is not called. These values
	 * need no check, whatever `untrusted` says. Keys that stay without a value, or with one that does not do, are
	 * looked up afterwards, as `repeated`: then only the rest of the store is asked. NULL: nothing can.
	 */
	void (*peek)(struct cache_lane *lane, struct cache_lookup *lookup);
	/*
	 * What `lookup` found for one of its keys was checked, is good, and stays so for `ttl_ms` (0: no end): the
	 * store may keep it where `peek` finds it. `cost_us` as in cache_insert. Called after the answer, as long as
	 * the caller has the look-up's keys and that value: within `done`, say. NULL: the store does not care.
	 */
	void (*confirm)(struct cache_lane *lane, const struct cache_lookup *lookup, size_t index, uint64_t ttl_ms,
			uint64_t cost_us);
	/*
	 * Takes what has arrived, without waiting; look-ups may be answered from inside. Called before a look-up is
	 * given up for late, so that a busy thread does not take its own delay for the store's. NULL: nothing arrives.
	 */
	void (*catch_up)(struct cache_lane *lane);
	bool (*insert)(struct cache_lane *lane, struct cache_insert *insert);
	/* An entry that is no good goes. Not answered. NULL: the store does not care, as all that it has is good. */
	void (*remove)(struct cache_lane *lane, const struct cache_key *key);
	/* NULL: entries cannot be removed. */
	bool (*purge)(struct cache_lane *lane, struct cache_purge *purge);
	/* NULL functions: no leases. A release is not answered, and does nothing where the lease has run out. */
	bool (*lease)(struct cache_lane *lane, struct cache_lease *lease);
	void (*release)(struct cache_lane *lane, const struct cache_key *key);
	/* A value came back for another key than was asked: make the connections again. NULL: there are none. */
	void (*reset_connections)(struct cache_lane *lane);
	/*
	 * Why an answer that is stored now would not be kept, as far as is known: a token for the detail of
	 * Cache-Status. NULL: nothing speaks against it, or nothing ever does.
	 */
	const char *(*trouble)(struct cache_lane *lane);
	/* Bytes of the longest value that the store takes. NULL: none is too long, as far as can be told. Any thread.
	 */
	size_t (*value_max)(const struct cache *cache);
	void (*statistics)(struct cache *cache, struct cache_statistics *statistics);
	/* More metric families, of this kind of store only. NULL: none. Any thread. */
	void (*metrics)(struct cache *cache, const struct metric_sink *sink);

	/* One line for people, without secrets: "local, 64 MB". */
	void (*describe)(struct cache *cache, char *text, size_t size);
};

/* Is there something to be had without waiting? */
static inline bool
cache_tells_at_once(const struct cache_ops *ops)
{
	return ops->synchronous || ops->peek != NULL;
}

#endif
