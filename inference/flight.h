/*
 * A flight: one question on its way to an answer, and all requests that wait for it. Room-private.
 *
 * The first request with a key leads the flight; equal ones that come before the answer is stored join it, from any
 * loop. Everything but joining happens on the leader's loop, the flight's home. The table below says which flights
 * there are; it is sharded, and a shard's mutex guards its chains and, of each flight in it, the list of waiting
 * requests, the answer, and whether there is one.
 */
#ifndef HIPPOCAMP_INFERENCE_FLIGHT_H
#define HIPPOCAMP_INFERENCE_FLIGHT_H

#include "caches/cache.h"
#include "inference/model.h"
#include "inference/scheduler.h"

struct engine_lane;
TAILQ_HEAD(request_list, inference_request);

enum flight_state { FLIGHT_LOOKING, FLIGHT_RUNNING, FLIGHT_ANSWERED };

struct flight {
	struct job job; /* first */
	struct loop_mail mail;
	struct engine_lane *lane;
	struct model *model; /* a reference */
	enum flight_state state;

	bool keyed; /* may be looked up, joined and stored */
	struct cache_key key;
	LIST_ENTRY(flight) chain;
	bool in_table;
	struct request_list waiting;
	struct inference_request *leader;    /* until answered */
	const struct tensor *const *ordered; /* the leader's tensors */
	bool starting;			     /* the leader's engine_infer has not returned yet */
	bool answered;			     /* as joiners see it: under the shard's mutex, unlike `state` */
	bool refused;			     /* by the queue: each request's error names its own id */

	struct cache_lookup lookup;
	struct blob *value;
	bool lookup_pending;
	TAILQ_ENTRY(flight) deadline;
	uint64_t deadline_ns;
	uint64_t lookup_ns; /* what looking up took */

	bool job_pending;
	struct arena arena;  /* the job's tensors and parameters */
	struct blob *inputs; /* the bytes that the job's tensors point into */

	enum status status;
	enum request_outcome outcome;
	struct blob *entry; /* the answer */
	struct cache_insert insert;
	bool insert_pending;
	uint64_t insert_ns;
};

#define FLIGHT_SHARDS 64
#define FLIGHT_CHAINS 64

struct flight_shard {
	_Alignas(64) pthread_mutex_t mutex; /* loops meet here for one probe; see above */
	LIST_HEAD(, flight) chains[FLIGHT_CHAINS];
};

struct flight_table {
	struct flight_shard shards[FLIGHT_SHARDS];
};

void flight_table_init(struct flight_table *table);
void flight_table_fini(struct flight_table *table);

struct flight_shard *flight_shard_lock(struct flight_table *table, const struct digest_value *digest);
void flight_shard_unlock(struct flight_shard *shard);

/* With the shard locked. */
struct flight *flight_find(struct flight_shard *shard, const struct digest_value *digest);
void flight_enter(struct flight_shard *shard, struct flight *flight);
void flight_leave(struct flight *flight);

/*
 * Fills the job from the leader's request, whose tensors are `ordered` by the config: model shapes, and data that stay
 * valid without the request (a reference to its body where they lie aligned in it, else a copy). Not before a run is
 * certain: a hit needs none of it. False without memory.
 */
bool flight_fill_job(struct flight *flight);

struct flight *flight_new(struct engine_lane *lane, struct model *model);
void flight_free(struct flight *flight);

#endif
