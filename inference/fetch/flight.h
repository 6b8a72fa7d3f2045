/*
 * A flight: one question on its way to an answer, and all slices that wait for it, of any request, from any loop. The
 * flights that one request leads go together as a fetch (fetch.h), on whose loop all happens but joining and leaving.
 *
 * The table says which flights there are. It is sharded, and a shard's mutex guards its chains and, of each flight in
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
	struct digest_value digest;	/* in the table */
	struct queue_class queue_class; /* of the leader */
	struct cache_key key;
	struct slice_list waiting;
	bool answered;
	bool unknown; /* the store could not tell */
	bool expired;
	bool unwanted;
	bool damaged; /* what the store had */
	size_t rows;
	struct bytes *data;
	size_t part; /* of the job */
	struct blob *entry;
	struct blob *stale;
	struct cache_insert insert;
};

#define FLIGHT_SHARDS 64
#define FLIGHT_CHAINS 64

struct flight_shard {
	_Alignas(64) pthread_mutex_t mutex; /* loops meet here for one probe; see above */
	LIST_HEAD(, flight) chains[FLIGHT_CHAINS];
	_Atomic uint32_t completions; /* flights that have left; what they brought may be in the store since */
};

struct flight_table {
	struct flight_shard shards[FLIGHT_SHARDS];
};

void flight_table_init(struct flight_table *table);
void flight_table_fini(struct flight_table *table);

/* NULL table: nothing to lock, nothing locked. */
struct flight_shard *flight_shard_lock(struct flight_table *table, const struct digest_value *digest);
void flight_shard_unlock(struct flight_shard *shard);

/* Without the lock. While the number stays the same, no flight of that digest's shard has left. */
uint32_t flight_completions(const struct flight_table *table, const struct digest_value *digest);

/* With the shard locked. */
struct flight *flight_find(struct flight_shard *shard, const struct digest_value *digest,
			   const struct queue_class *queue_class);
void flight_enter(struct flight_shard *shard, struct flight *flight);
void flight_leave(struct flight_shard *shard, struct flight *flight);

#endif
