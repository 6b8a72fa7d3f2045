/*
 * One shard of the local store: a hash table of counted blobs under a byte budget. What goes when it is full is the
 * entry of least value by Greedy-Dual-Size-Frequency (Cherkasova: "Improving WWW Proxies Performance with
 * Greedy-Dual-Size-Frequency Caching Policy", HP Labs HPL-98-69, 1998): the rank of an entry is
 *
 *	inflation + count * cost / charge
 *
 * where `count` is how often it was asked for, `cost` what it took to compute, `charge` what it takes of the budget,
 *and `inflation` the rank of the entry that was evicted last, so that what was popular once does not stay for ever.
 *
 * Not in the paper: what has expired goes first. A hit only counts: a rank is computed anew when its entry is about to
 * go. The counts of evicted entries are remembered in a ghost table, so that what comes back soon comes back with its
 * count. Counts end at 32, so that what is asked for no more goes after as many turnovers of the store, and the first
 * request counts for a quarter of one, so that a scan pushes little out. docs/decisions/0004 says why.
 *
 * Any thread may call, except init and fini. A mutex guards a shard: look-ups come from every loop, each holds it for
 * the length of a table probe, and a message to an owning thread would cost more than the probe.
 */
#ifndef HIPPOCAMP_CACHES_LOCAL_SHARD_H
#define HIPPOCAMP_CACHES_LOCAL_SHARD_H

#include "caches/cache.h"
#include "caches/local/rank_heap.h"

#include <pthread.h>

struct shard_node;

/* Whose entry it is: hashes of the model's name and of its version. In a purge 0 stands for any. */
struct shard_scope {
	uint64_t model;
	uint64_t version;
};

struct shard_ghost {
	uint32_t mark;	   /* part of the digest; 0: empty */
	uint32_t departed; /* the count of departures when it left */
	uint32_t count;	   /* how often it was asked for */
};

struct shard {
	_Alignas(64) pthread_mutex_t mutex; /* on a line of its own, as other threads use other shards */
	struct shard_node **table;	    /* chains */
	size_t table_size;		    /* a power of two */
	struct shard_ghost *ghosts;	    /* as many as the table has chains */
	uint32_t departures;
	struct rank_heap ranks;	   /* of all entries */
	struct rank_heap expiries; /* of those that expire, by when */
	double inflation;
	uint64_t used_bytes;
	uint64_t budget;
	size_t value_max; /* the longest value that fits into it */
	size_t entries;
	uint64_t lookups;
	uint64_t hits;
	uint64_t inserts;
	uint64_t dropped;
	uint64_t evictions;
};

/* False where there is no memory. */
bool shard_init(struct shard *shard, uint64_t budget);
void shard_fini(struct shard *shard);

/*
 * Returns a reference for the caller, or NULL. Removes the entry if it is past its expiry at `now_ns`. Hits count for
 * the entry where they count at all.
 */
struct blob *shard_get(struct shard *shard, const struct digest_value *digest, uint64_t now_ns,
		       enum cache_count counted);

/* What is stored about a value. */
struct shard_entry {
	struct shard_scope scope;
	uint64_t expires_ns; /* by the clock of now_ns; 0: never */
	uint64_t cost_us;    /* what it took to compute; 0: not known, and taken for 1 */
};

/*
 * Takes a reference to the value. One that is larger than the budget, or that there is no memory for, is dropped and
 * counted. No mode keeps an entry that is past its expiry.
 */
void shard_put(struct shard *shard, const struct digest_value *digest, const struct shard_entry *entry,
	       struct blob *value, enum cache_insert_mode mode, uint64_t now_ns);

/* Removes one entry, if it is there. */
void shard_remove(struct shard *shard, const struct digest_value *digest);

/*
 * Removes all entries of that scope, puts them in front of the list *removed, and says how many there were. The caller
 * frees the list, on any thread: that takes most of the time.
 */
uint64_t shard_purge(struct shard *shard, struct shard_scope scope, struct shard_node **removed);
void shard_free_removed(struct shard_node *removed); /* NULL: none */

/* What an entry of that length takes out of the budget: its bytes and its book-keeping. */
uint64_t shard_charge(size_t length);

#endif
