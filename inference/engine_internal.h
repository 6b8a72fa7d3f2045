/*
 * What the files of the engine share. Room-private. engine_lane.c: lanes, from first to last. lane.c: what all files
 * ask of a lane. engine.c: requests in. waiting.c: how long they wait. fetch.c: who waits for which flight: joining and
 * leaving. fetch_lookup.c, fetch_lease.c, fetch_run.c: what the flights wait for. answer.c: answers out. account.c:
 * what is counted.
 */
#ifndef HIPPOCAMP_INFERENCE_ENGINE_INTERNAL_H
#define HIPPOCAMP_INFERENCE_ENGINE_INTERNAL_H

#include "base/lateness.h"
#include "inference/engine.h"
#include "inference/flight.h"
#include "inference/renewals.h"

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
	const struct executor_ops *ensembles; /* who runs their jobs */
	struct cache_host host;
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
	bool hurried;	 /* nothing waits for other servers any more */
	size_t underway; /* fetches, and requests that have no answer yet */
	void (*drained)(void *argument);
	void *drained_argument;
};

/* --- lane.c --- */

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

/* --- waiting.c --- */

void request_set_level(struct inference_request *request);

/* It is not answered at once: from here on it holds its model and its lane, and its queue timeout runs. */
void request_become_pending(struct inference_request *request, void (*on_timeout)(void *request));

/* --- answer_report.c --- */

/* Writes what an answer tells of itself: dates, the cache's part, what runs took. */
void request_report(struct inference_request *request);

/* --- answer.c --- */

/* Sends slices of the request on their way. It may be answered and gone afterwards, if it is not held. */
void request_send(struct inference_request *request, struct slice *const *slices, size_t count, struct fetch_mode mode);

/* Held, a request is not answered: it counts one unresolved slice more. */
void request_hold(struct inference_request *request);
void request_release(struct inference_request *request);

/*
 * Nobody waits for it any more: where no run of it has begun it leaves the queues that it waits in, and this failure is
 * its answer. It may be gone afterwards.
 */
void request_withdraw(struct inference_request *request, enum status status, const char *text);

/* For request_become_pending. */
void request_on_timeout(void *request);

/* All slices have their answers. */
void request_finish(struct inference_request *request);

/* Counts and hands out what request->status says. */
void request_conclude(struct inference_request *request);

/* --- fetch_join.c --- */

/* Sends slices of one request, which is held, on their way; each is done in time, perhaps before this returns. */
void fetch_start(struct engine_lane *lane, struct slice *const *slices, size_t count, struct fetch_mode mode);

/* Does any slice of the request wait for a run that has not begun? */
bool fetch_request_waits(struct inference_request *request);

/* Takes the slices of a request, which is held, out of the flights that they wait for: this failure is their answer. */
void fetch_leave(struct inference_request *request, struct blob *failure);

/* --- fetch_lookup.c --- */

/* Asks the store, then runs what it does not answer. */
void fetch_look_up(struct fetch *fetch);

void lane_on_deadline(void *argument);

/* --- fetch_lease.c --- */

/* Runs what the store has not answered, or waits for another server that does. */
void fetch_claim(struct fetch *fetch);

void lane_on_wait(void *argument);

/* --- fetch_values.c --- */

/* Gives the values of fetch->lookup to those who wait. */
void fetch_take_values(struct fetch *fetch);

/* Flights that everybody has left while the fetch waited need no run. */
void fetch_drop_unwanted(struct fetch *fetch);

/* What a run of the flights without an answer usually costs; 0: not known yet. */
uint64_t fetch_run_cost_ns(const struct fetch *fetch);

/* How long the store may take to answer for them. */
uint64_t fetch_lookup_timeout_ns(const struct fetch *fetch);

/* --- fetch_refresh.c --- */

/* Runs the model for answered slices, to renew what the store has. Nobody waits. */
void fetch_start_refresh(struct engine_lane *lane, struct slice *const *slices, size_t count);

/* --- fetch_run.c --- */

/* Runs the model for the flights without an answer, then stores what came of it. */
void fetch_run(struct fetch *fetch);

/* Nobody waits any more. Any thread, while the fetch is held by a flight without an answer or by the caller. */
void fetch_withdraw(struct fetch *fetch);

/* --- fetch.c --- */

/* Room for `count` flights, none yet. */
struct fetch *fetch_new(struct engine_lane *lane, struct inference_request *leader, struct fetch_mode mode,
			size_t count);

/* The table for those flights that others may join; see flight_shard_lock. */
struct flight_table *fetch_table(const struct fetch *fetch);

/* A fetch is over when nothing holds it any more. Releasing happens on its home loop. */
void fetch_hold(struct fetch *fetch);
void fetch_release(struct fetch *fetch);

/* A flight for the slice, which it leads. */
void fetch_add_flight(struct fetch *fetch, const struct slice *slice);

/* Releases what was leased for one flight. */
void fetch_let_go(struct flight_claim *one);

/* Keeps a list by deadline; equal ones in the order in which they came. */
void fetch_list_add(struct fetch_list *list, struct fetch *fetch, uint64_t deadline_ns);

/* Sets a timer for the first of a list. */
void fetch_list_arm(const struct fetch_list *list, struct loop_timer *timer);

/* The first of a list, if its deadline has passed. */
struct fetch *fetch_list_due(const struct fetch_list *list, uint64_t now_ns);

/* --- fetch_answer.c --- */

/* An answer, or a failure, for all who wait for a flight. */
struct outcome {
	struct blob *entry;
	struct blob *failure;
	bool hit;
	enum slice_retry retry; /* what those who joined do about the failure */
};

void fetch_answer(struct flight *flight, const struct outcome *outcome);

/* The same failure for all flights without an answer, whose number fetch_unanswered tells. */
void fetch_fail(struct fetch *fetch, enum status status, const char *text, enum slice_retry retry);
size_t fetch_unanswered(const struct fetch *fetch);

/* --- fetch_inputs.c --- */

/*
 * Takes over what the unanswered flights need of the leader's request: a reference to its body where the tensors lie
 * aligned in it, else a copy. Not before a run is certain, or the leader leaves. False without memory.
 */
bool fetch_keep_inputs(struct fetch *fetch);

/* The job for the flights that have no answer yet, out of the kept inputs. False without memory. */
bool fetch_fill_job(struct fetch *fetch);

/* --- account.c --- */

/* All that an answered request counts, whoever found its answer. */
void account_request(struct engine_lane *lane, struct inference_request *request);
void account_insert(struct fetch *fetch, const struct blob *entry, uint64_t ns);
void account_corrupt(struct engine_lane *lane, struct model *model, bool wrong_mac);
void account_too_large(struct engine_lane *lane, struct model *model);
void account_leases(struct fetch *fetch, const struct lease_statistics *counts);
void account_refreshes(struct engine_lane *lane, struct model *model, size_t rows);

/* Moving averages of what a row costs. */
void account_lookup_cost(struct model *model, uint64_t ns, size_t rows);

#endif
