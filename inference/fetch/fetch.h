/*
 * A fetch: what the store did not tell a request at once is looked up there and, where the store does not know it in
 * time, computed by the model and stored. It is one look-up for all its flights, and one job for those that the look-up
 * does not answer. Everything happens on the loop of the request that led it, its home, but joining and leaving.
 *
 * Each file calls those below it only: fetch_join, fetch_lookup, fetch_lease, fetch_values, fetch_refresh, fetch_run,
 * fetch_answer and fetch_inputs, fetch. The room tells the engine above it what came of a slice by slice->done.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_FETCH_H
#define HIPPOCAMP_INFERENCE_FETCH_FETCH_H

#include "inference/fetch/flight.h"
#include "inference/fetch/lane.h"
#include "inference/models/executor.h"

/* What a fetch may do. */
struct fetch_mode {
	bool shared;	 /* others may join */
	bool looks;	 /* in the store */
	bool runs;	 /* the model */
	bool stores;	 /* the answers */
	bool background; /* nobody waits */
	bool unbatched;	 /* a second try, or an audit; see job.h */
	bool audits;	 /* to see whether what is known is right: counts as no run */
};

enum fetch_state {
	FETCH_LOOKING,
	FETCH_WAITING, /* for another server's answer, or to hear whether one makes it; see fetch_lease.c */
	FETCH_SETTLED, /* it runs, or all is answered: what the store says now is late */
};

struct fetch_claim;

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

/* From now on nothing waits for other servers. */
void fetch_stop_waiting(struct engine_lane *lane);

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

#endif
