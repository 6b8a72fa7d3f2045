/*
 * A lane: one loop's part of the engine, made and freed by engine_lane.c, and the functions that all files share. Used
 * on its loop's thread only.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_LANE_H
#define HIPPOCAMP_INFERENCE_FETCH_LANE_H

#include "base/lateness.h"
#include "inference/cache/cache_host.h"
#include "inference/cache/response_cache.h"
#include "inference/fetch/flight.h"
#include "inference/fetch/renewals.h"
#include "inference/models/executor.h"
#include "inference/models/model.h"
#include "loop/loop.h"

struct remote_ops;
TAILQ_HEAD(fetch_list, fetch);

struct engine {
	struct response_cache *cache;
	struct flight_table flights;
	struct renewals renewals;
	struct lateness lateness;	/* of the store */
	_Atomic uint64_t apart_told_ns; /* when a difference of clocks was last logged */
	struct request_trace *trace;	/* NULL: nothing is recorded */
};

struct engine_lane {
	struct engine *engine;
	struct loop *loop;
	size_t index;
	struct response_cache *cache; /* NULL: none */
	struct cache_lane *store;
	const struct executor_ops *models; /* runs the jobs of models */
	const struct executor_ops *ensembles;
	const struct executor_ops *remotes;  /* of models that run on another server */
	const struct remote_ops *remote_ops; /* the client of that server; NULL: none */
	void *remote;
	struct cache_host host;
	struct cache_host_offload host_offload;
	struct keyed_hash *key_hash;  /* NULL: no secret is known yet */
	struct keyed_hash *entry_mac; /* the same */
	struct keyed_hash_key lookup_key;
	struct keyed_hash_key entry_key;
	uint64_t secret_generation; /* of the secret that the store keeps, if any */
	struct buf scratch;
	uint64_t random;
	struct fetch_list looking; /* by deadline */
	struct loop_timer *deadline_timer;
	struct fetch_list waiting; /* by deadline */
	struct loop_timer *wait_timer;
	bool stops_waiting; /* nothing waits for other servers any more */
	size_t underway;    /* fetches, purges of rows, and unanswered requests */
	void (*drained)(void *argument);
	void *drained_argument;
};

void lane_less_underway(struct engine_lane *lane);

/* Sets the keys. When memory runs out, the old ones stay, if any. */
void lane_take_keys(struct engine_lane *lane, const struct response_cache_keys *keys);

/* Can keys be made? Not until a store that keeps the secret has provided it. */
bool lane_has_keys(struct engine_lane *lane);

/* Can no key be made, because the store has not provided the secret that it keeps? */
bool lane_lacks_secret(struct engine_lane *lane);

/* A random number for sampling and jitter, by xorshift64 (Marsaglia, 2003); not for what must be unpredictable. */
static inline uint64_t
lane_random(struct engine_lane *lane)
{
	lane->random ^= lane->random << 13;
	lane->random ^= lane->random >> 7;
	lane->random ^= lane->random << 17;
	return lane->random;
}

/* The executor of the model's jobs. */
const struct executor_ops *lane_executor(const struct engine_lane *lane, const struct model *model);

/* Admission: is the cache worth asking for the model's answers? */
bool lane_admits(struct engine_lane *lane, const struct model *model);

/* Is the entry small enough to be stored? */
bool lane_is_small_enough(const struct engine_lane *lane, const struct blob *entry);

/* A random number, uniform in (0, 1]. */
double lane_chance(struct engine_lane *lane);

/* Takes the store's answers that this loop was too busy to take, before fetches count as late. */
void lane_catch_up(struct engine_lane *lane);

/* See engine_purge. */
bool lane_purge(struct engine_lane *lane, struct cache_purge *purge);

/* Purges the model's stored entries if that is due: see row_trust_taints_store. Nobody waits. */
void lane_purge_rows(struct engine_lane *lane, struct model *model);

/* Makes a failure that many slices may share. */
struct blob *failure_new(enum status status, const char *text);

/*
 * Is a value that the store gave for a slice or flight the answer to this key? If not, it is counted, unless it is
 * `known` to be bad already.
 */
bool value_usable(struct engine_lane *lane, struct model *model, const struct cache_key *key, const struct blob *value,
		  bool known);

/* Logs a warning if an entry's date shows that clocks differ. */
void lane_note_date(struct engine_lane *lane, const struct freshness_entry *freshness, uint64_t now_ms);

/* May an answer be renewed in the background? If so, the renewal counts as begun. */
bool lane_renews(struct engine_lane *lane, const struct cache_directives *directives, const struct cache_key *key,
		 const struct freshness_entry *freshness, uint64_t now_ms);

/* Was the model purged at this time, by clock_now_ns(), or later? Then what was under way is not for the store. */
bool lane_purged_since(struct engine_lane *lane, struct model *model, uint64_t since_ns);

/* Is a value older than a purge of its model? */
bool value_purged(struct engine_lane *lane, struct model *model, const struct freshness_entry *freshness,
		  uint64_t now_ms);

#endif
