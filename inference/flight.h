/*
 * How questions travel. Room-private.
 *
 * A request is cut into slices: one for each row where rows are cached, else one for the whole. A slice that the store
 * does not answer at once waits for a flight: one question on its way to an answer, and all slices that wait for it, of
 * any request, from any loop. The flights that one request leads go together as a fetch: one look-up, and one job
 * for those that the look-up does not answer.
 *
 * Everything but joining and leaving happens on the loop of the leader, the fetch's home. The table says which flights
 * there are; it is sharded, and a shard's mutex guards its chains and, of each flight in it, the list of waiting
 * slices (with slice->flight), the answer, and whether there is one. Flights that nobody may join are in no table.
 */
#ifndef HIPPOCAMP_INFERENCE_FLIGHT_H
#define HIPPOCAMP_INFERENCE_FLIGHT_H

#include "caches/cache.h"
#include "inference/executor.h"
#include "inference/model.h"
#include "inference/request.h"

#include <pthread.h>

struct flight;
struct fetch;
struct fetch_claim;

enum slice_result { SLICE_NOT_CACHED, SLICE_HIT, SLICE_MISS, SLICE_JOINED, SLICE_BYPASSED, SLICE_ERROR };

/* A failure may be another request's, of those whose run one joined. */
enum slice_retry {
	RETRY_NOT,
	RETRY_ALONE,  /* what it ran with failed: a run of its own */
	RETRY_JOINED, /* whoever it was for has left: the question anew */
};

struct slice {
	struct loop_mail mail; /* first; its answer comes from another loop */
	struct inference_request *request;
	void (*done)(
		struct slice *slice); /* its answer is there; on its request's loop, perhaps before it is sent off */
	size_t rows;
	struct bytes *data; /* by the config's inputs; `at` NULL where one is missing */
	bool keyed;
	struct cache_key key;
	uint32_t completions;  /* in its key's shard of the table, before the store was asked at once */
	bool shared;	       /* its flight is in the table */
	struct flight *flight; /* that it waits for */
	TAILQ_ENTRY(slice) waiting;
	bool leads;
	enum slice_retry retry; /* what the failure is worth */
	bool retried;		/* alone */
	bool revalidate;	/* answered, and to be renewed */
	bool left;		/* its flight, before there was an answer */
	bool resolved;

	/* The answer: an entry, or a failure (a struct error in a block). */
	enum slice_result result;
	bool expired;  /* the store had it, but too old */
	bool unwanted; /* … for this request */
	bool stored;
	struct run_times times;
	struct blob *entry;
	struct blob *stale; /* to be used if the run fails */
	struct blob *failure;
};

TAILQ_HEAD(slice_list, slice);

struct flight {
	struct fetch *fetch;
	LIST_ENTRY(flight) chain;
	bool in_table;
	struct digest_value digest; /* in the table */
	uint64_t steering;	    /* of the leader, see struct inference_request */
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

/* What a fetch may do. */
struct fetch_mode {
	bool shared;	 /* others may join */
	bool looks;	 /* in the store */
	bool runs;	 /* the model */
	bool stores;	 /* the answers */
	bool background; /* nobody waits */
	bool alone;	 /* a second try, or an audit; see job.h */
	bool audits;	 /* to see whether what is known is right: counts as no run */
};

enum fetch_state {
	FETCH_LOOKING,
	FETCH_WAITING, /* for another server's answer, or to hear whether one makes it; see fetch_lease.c */
	FETCH_RUNNING,
	FETCH_OVER,
};

TAILQ_HEAD(fetch_list, fetch);

struct fetch {
	struct job job; /* first */
	struct loop_mail mail;
	struct engine_lane *lane;
	struct model *model; /* a reference */
	enum fetch_state state;
	struct fetch_mode mode;
	struct inference_request *leader; /* while its tensors are needed */
	struct cache_directives directives;
	atomic_size_t wanted;		 /* slices that wait for its flights */
	atomic_size_t level;		 /* the most urgent priority of those who wait */
	uint64_t delay_ns;		 /* the leader's, see job.h */
	atomic_size_t held;		 /* reasons why it is not over: calls, mail, inserts */
	bool kept;			 /* the flights' data are the fetch's own */
	uint64_t row_losses;		 /* of the model, when the run began */
	struct keyed_hash_key entry_key; /* of the job */

	struct cache_lookup lookup;
	bool asks_again; /* an immediate store: it may know by now what it did not when the request came */
	bool lookup_pending;
	uint64_t lookup_start_ns;
	TAILQ_ENTRY(fetch) deadline; /* while it looks or waits */
	uint64_t deadline_ns;
	struct fetch_claim *claim; /* its leases; NULL: none */

	bool job_pending;
	const struct executor_ops *executor; /* of the job */
	struct bytes id;		     /* the leader's, where nobody else can join */
	struct arena arena;		     /* the job's tensors and parameters, the look-up's keys */
	struct blob *inputs;		     /* the bytes that the job's tensors point into */

	size_t count;
	struct flight flights[];
};

struct flight_claim {
	struct cache_lease lease;
	struct fetch_claim *claim;
	struct flight *flight;
	uint64_t ends_ns; /* when it has run out at the latest, if it was granted */
	bool owned;
};

struct fetch_claim {
	struct fetch *fetch;
	size_t due;  /* answers of the store that have not come yet */
	bool waited; /* for other servers */
	uint64_t last_poll_ns;
	uint64_t interval_ns;
	struct cache_lookup lookup; /* of the flights without an answer */
	struct cache_key *keys;
	struct blob **values;
	size_t *asked; /* which flight a key belongs to */
	struct flight_claim *flights;
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
struct flight *flight_find(struct flight_shard *shard, const struct digest_value *digest, uint64_t steering);
void flight_enter(struct flight_shard *shard, struct flight *flight);
void flight_leave(struct flight_shard *shard, struct flight *flight);

#endif
