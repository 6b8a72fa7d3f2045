/*
 * One shard of the local store: a hash table of counted blobs under a byte budget, evicted by S3-FIFO.
 *
 * S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023): new entries
 * enter a small queue of a tenth of the budget; those asked for again while there move to the main queue, the others
 * leave and are remembered in a ghost table, so that one that comes back soon goes straight to the main queue. The main
 * queue is a FIFO with reinsertion: an entry asked for since it was last looked at goes round once more for each time,
 * at most three.
 *
 * Any thread may call, except init and fini. A mutex guards a shard: look-ups come from every loop, each holds it for
 * the length of a table probe, and a message to an owning thread would cost more than the probe.
 */
#ifndef HIPPOCAMP_CACHES_LOCAL_SHARD_H
#define HIPPOCAMP_CACHES_LOCAL_SHARD_H

#include "caches/cache.h"

#include <pthread.h>
#include <sys/queue.h>

struct shard_node;
TAILQ_HEAD(shard_queue, shard_node);

/* Whose entry it is: hashes of the model's name and of its version. In a purge 0 stands for any. */
struct shard_scope {
	uint64_t model;
	uint64_t version;
};

struct shard_ghost {
	uint32_t mark;	   /* part of the digest; 0: empty */
	uint32_t departed; /* the count of departures when it left */
};

struct shard {
	_Alignas(64) pthread_mutex_t mutex; /* on a line of its own, as other threads use other shards */
	struct shard_node **table;	    /* chains */
	size_t table_size;		    /* a power of two */
	struct shard_ghost *ghosts;	    /* as many as the table has chains */
	uint32_t departures;
	struct shard_queue small;
	struct shard_queue main;
	uint64_t small_bytes;
	uint64_t main_bytes;
	uint64_t budget;
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
 * A reference for the caller, or NULL. Entries past their expiry at `now_ns` are removed. `counted`: in `lookups`;
 * `credited`: a find counts in `hits`, and for the entry.
 */
struct blob *shard_get(struct shard *shard, const struct digest_value *digest, uint64_t now_ns, bool counted,
		       bool credited);

/*
 * `expires_ns` 0 means never. An entry larger than the budget is dropped. One that is past its expiry is kept by no
 * mode.
 */
void shard_put(struct shard *shard, const struct digest_value *digest, struct shard_scope scope, struct blob *value,
	       uint64_t expires_ns, enum cache_insert_mode mode);

/* Removes all entries of that scope and says how many there were. */
uint64_t shard_purge(struct shard *shard, struct shard_scope scope);

/* What an entry of that length takes out of the budget: its bytes and its book-keeping. */
uint64_t shard_charge(size_t length);

/* The longest value that fits. */
size_t shard_value_max(const struct shard *shard);

#endif
