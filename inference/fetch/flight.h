/*
 * A flight: one question under way, with all slices that wait for its answer, of any request, from any loop. The
 * flights that one request leads form a fetch (fetch.h), on whose loop everything but joining and leaving happens.
 *
 * The table holds the flights under way. It is sharded, and a shard's mutex guards its chains and, of each flight in
 * it, the list of waiting slices (with slice->flight), the answer, and whether there is one. Flights that nobody may
 * join are in no table.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_FLIGHT_H
#define HIPPOCAMP_INFERENCE_FETCH_FLIGHT_H

#include "inference/fetch/slice.h"

#include <pthread.h>
#include <stdatomic.h>

struct fetch;

struct flight {
	struct fetch *fetch;
	LIST_ENTRY(flight) chain;
	bool in_table;
	struct digest_value digest;	/* its key in the table */
	struct queue_class queue_class; /* of the leader */
	struct cache_key key;
	struct slice_list waiting;
	bool answered;
	bool unknown;  /* the look-up failed */
	bool expired;  /* the store's entry had expired */
	bool unwanted; /* the store's entry was too old for the leader */
	bool damaged;  /* the store's value was bad */
	size_t rows;
	struct bytes *data;
	size_t part;	    /* index in job->parts */
	struct blob *entry; /* the answer, if it is to be stored (see publish); later joiners take it */
	struct blob *stale; /* the store's entry, for the leader if the run fails */
	struct cache_insert insert;
};

#define FLIGHT_SHARDS 64
#define FLIGHT_CHAINS 1024 /* short, with the rows of the largest batches */

LIST_HEAD(flight_chain, flight);

struct flight_shard {
	_Alignas(64) pthread_mutex_t mutex; /* held by a loop for one probe; see above */
	struct flight_chain chains[FLIGHT_CHAINS];
	_Atomic uint32_t completions; /* flights that have left; their answers may be in the store */
};

struct flight_table {
	struct flight_shard shards[FLIGHT_SHARDS];
};

void flight_table_init(struct flight_table *table);
void flight_table_fini(struct flight_table *table);

/* With a NULL table, locks nothing and returns NULL. */
struct flight_shard *flight_shard_lock(struct flight_table *table, const struct digest_value *digest);
void flight_shard_unlock(struct flight_shard *shard);

/*
 * The number of flights that have left the digest's shard, read without the lock: while it stays the same, none leaves.
 */
uint32_t flight_completions(const struct flight_table *table, const struct digest_value *digest);

/* With the shard locked. */
struct flight *flight_find(struct flight_shard *shard, const struct digest_value *digest,
			   const struct queue_class *queue_class);
void flight_enter(struct flight_shard *shard, struct flight *flight);
void flight_leave(struct flight_shard *shard, struct flight *flight);

#endif
