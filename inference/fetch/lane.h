/*
 * A lane: one loop's part of the engine, made and freed by engine_lane.c; and what all files ask of it. Used on its
 * loop's thread only.
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

TAILQ_HEAD(fetch_list, fetch);

struct engine {
	struct response_cache *cache;
	struct flight_table flights;
	struct renewals renewals;
	struct lateness lateness;	/* of the store */
	_Atomic uint64_t apart_told_ns; /* that clocks are */
};

struct engine_lane {
	struct engine *engine;
	struct loop *loop;
	size_t index;
	struct response_cache *cache; /* NULL: none */
	struct cache_lane *store;
	const struct executor_ops *models; /* who runs their jobs */
	const struct executor_ops *ensembles;
	struct cache_host host;
	struct cache_host_offload host_offload;
	struct keyed_hash *key_hash;  /* NULL: no secret is known yet */
	struct keyed_hash *entry_mac; /* the same */
	struct keyed_hash_key lookup_key;
	struct keyed_hash_key entry_key;
	uint64_t secret_generation; /* of the one that the store keeps, if it does */
	struct buf scratch;
	uint64_t random;
	struct fetch_list looking; /* by deadline */
	struct loop_timer *deadline_timer;
	struct fetch_list waiting; /* by deadline */
	struct loop_timer *wait_timer;
	bool stops_waiting; /* nothing waits for other servers any more */
	size_t underway;    /* fetches, and requests that have no answer yet */
	void (*drained)(void *argument);
	void *drained_argument;
};

void lane_less_underway(struct engine_lane *lane);

/* Without memory the keys of before stay, or there are none. */
void lane_take_keys(struct engine_lane *lane, const struct response_cache_keys *keys);

/* Can keys be made? Not while a store that keeps the secret has not told it yet. */
bool lane_has_keys(struct engine_lane *lane);

/* Can no key be made, since the store has not told the secret that it keeps? */
bool lane_lacks_secret(struct engine_lane *lane);

/* Good enough for lots and jitter, and for nothing that somebody must not foresee. */
uint64_t lane_random(struct engine_lane *lane);

/* Who runs jobs of the model. */
const struct executor_ops *lane_executor(const struct engine_lane *lane, const struct model *model);

/* Admission: is the cache worth asking for the model's answers? */
bool lane_admits(struct engine_lane *lane, const struct model *model);

/* May the entry be stored for its size? */
bool lane_is_small_enough(const struct engine_lane *lane, const struct blob *entry);

/* Uniform in (0, 1]. */
double lane_chance(struct engine_lane *lane);

/* Before fetches are taken for late: the store's answers that this loop was too busy to take. */
void lane_catch_up(struct engine_lane *lane);

/* See engine_purge. */
bool lane_purge(struct engine_lane *lane, struct cache_purge *purge);

/* Removes what is stored for a model if that is due: see row_trust_taints_store. Nobody waits. */
void lane_purge_rows(struct engine_lane *lane, struct model *model);

/* A failure that many slices may share. */
struct blob *failure_new(enum status status, const char *text);

/*
 * Takes a value that the store gave for a slice or flight; false where it is not the answer to this key, which is
 * counted unless it is `known` already.
 */
bool value_usable(struct engine_lane *lane, struct model *model, const struct cache_key *key, const struct blob *value,
		  bool known);

/* Tells people where an entry's date shows that clocks are apart. */
void lane_note_date(struct engine_lane *lane, const struct freshness_entry *freshness, uint64_t now_ms);

/* May a stale answer be renewed behind the client's back? Then that is to begin. */
bool lane_renews(struct engine_lane *lane, const struct cache_directives *directives, const struct cache_key *key,
		 const struct freshness_entry *freshness, uint64_t now_ms);

/* Is a value older than a purge of its model? */
bool value_purged(struct engine_lane *lane, struct model *model, const struct freshness_entry *freshness,
		  uint64_t now_ms);

#endif
