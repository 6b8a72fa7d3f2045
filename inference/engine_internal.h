/*
 * What the files of the engine share. Room-private. engine.c: lanes, requests in and answers out. trip.c: flights on
 * their way: joining, looking up, running, storing. account.c: what is counted.
 */
#ifndef HIPPOCAMP_INFERENCE_ENGINE_INTERNAL_H
#define HIPPOCAMP_INFERENCE_ENGINE_INTERNAL_H

#include "inference/engine.h"
#include "inference/flight.h"

struct engine {
	struct response_cache *cache;
	struct flight_table flights;
};

struct engine_lane {
	struct engine *engine;
	struct loop *loop;
	size_t index;
	struct response_cache *cache; /* NULL: none */
	struct cache_lane *store;
	struct cache_host host;
	struct digest *digest;
	struct digest_secret shared_secret; /* derived from the one that the store keeps */
	uint64_t shared_generation;
	struct buf scratch;
	uint64_t random;
	TAILQ_HEAD(, trip) looking; /* by deadline: all look-ups may take equally long */
	struct loop_timer *deadline_timer;
	size_t underway; /* trips, and requests that have no answer yet */
	void (*drained)(void *argument);
	void *drained_argument;
};

/* --- engine.c --- */

/* The slice has its answer, on its own loop. Its request may be answered and gone afterwards. */
void slice_resolve(struct slice *slice);

/* Lets go of a request that was kept by counting one unresolved slice more. */
void slice_resolve_guard(struct inference_request *request);

void lane_less_underway(struct engine_lane *lane);

/* Uniform in (0, 1]. */
double lane_chance(struct engine_lane *lane);

/* A failure that many slices may share. */
struct blob *failure_new(enum status status, const char *text);

/* Takes a value that the store gave for a slice or flight; false where it is not the answer to this key. */
bool value_usable(struct engine_lane *lane, struct model *model, const struct cache_key *key, const struct blob *value);

/* --- trip.c --- */

/* Sends slices of one request on their way; each is resolved in time, perhaps before this returns. */
void trip_start(struct engine_lane *lane, struct slice *const *slices, size_t count, struct trip_mode mode);

/* Runs the model for answered slices, to renew what the store has. Nobody waits. */
void trip_start_refresh(struct engine_lane *lane, struct slice *const *slices, size_t count);

/* Does any slice of the request wait for a run that has not begun? */
bool trip_request_waits(struct inference_request *request);

/* Takes the slices of a request out of the flights that they wait for, and resolves them with this failure. */
void trip_leave(struct inference_request *request, struct blob *failure);

void lane_on_deadline(void *argument);

/* --- account.c --- */

/* All that an answered request counts, whoever found its answer. */
void account_request(struct engine_lane *lane, struct inference_request *request);
void account_insert(struct trip *trip, const struct blob *entry, uint64_t ns);
void account_corrupt(struct engine_lane *lane, struct model *model);
void account_too_large(struct engine_lane *lane, struct model *model);
void account_refreshes(struct engine_lane *lane, struct model *model, size_t rows);

/* Moving averages of what a row costs. */
void account_lookup_cost(struct model *model, uint64_t ns, size_t rows);

#endif
