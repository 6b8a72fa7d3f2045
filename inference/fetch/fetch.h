/*
 * A fetch answers slices that the store did not answer at once: it looks them up and, if the store has no answer in
 * time, runs the model and stores the result. It makes one look-up for all its flights, and one job for those that the
 * look-up does not answer. Everything but joining and leaving happens on its home, the loop of the request that leads
 * it.
 *
 * Each file calls only files after it in this list: fetch_join, fetch_lookup, fetch_lease, fetch_values, fetch_refresh,
 * fetch_run, fetch_answer and fetch_inputs, fetch. The engine learns the result of a slice by slice->done.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_FETCH_H
#define HIPPOCAMP_INFERENCE_FETCH_FETCH_H

#include "inference/fetch/flight.h"
#include "inference/fetch/lane.h"
#include "inference/models/executor.h"

/* What a fetch may do. */
struct fetch_mode {
	bool shared;	 /* others may join */
	bool looks;	 /* may ask the store */
	bool runs;	 /* may run the model */
	bool stores;	 /* may store answers */
	bool background; /* nobody waits */
	bool unbatched;	 /* a retry or an audit; see job.h */
	bool audits;	 /* checks an answer: not counted as a run */
};

enum fetch_state {
	FETCH_LOOKING,
	FETCH_WAITING, /* for another server's answer, or for a lease; see fetch_lease.c */
	FETCH_SETTLED, /* it runs or is answered: the store's answers are late now */
};

struct fetch_claim;

struct fetch {
	struct job job; /* first */
	struct loop_mail mail;
	struct engine_lane *lane;
	struct model *model; /* a reference */
	enum fetch_state state;
	struct fetch_mode mode;
	struct inference_request *leader; /* NULL once its tensors are not needed */
	struct cache_directives directives;
	atomic_size_t wanted;  /* slices that wait for its flights */
	atomic_bool is_joined; /* by another request than its first one */
	const void *first;     /* request: to be compared only */
	atomic_size_t level;   /* the most urgent level of the waiting requests */
	uint64_t delay_ns;     /* the leader's, see job.h */
	atomic_size_t held;    /* holders: calls, a look-up, a wait for leases, the job until its mail, inserts */
	bool kept;	       /* the fetch has kept the flights' data for itself */
	uint64_t begun_ns;     /* what is purged from then on is not to be found again by its answers */
	uint64_t row_losses;   /* of the model, when the run began */
	struct keyed_hash_key entry_key; /* of the job */

	struct cache_lookup lookup;
	bool asks_again; /* asks a synchronous store again: it may have the answer by now */
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
	uint64_t ends_ns; /* a granted lease lasts at least until then */
	bool owned;
};

struct fetch_claim {
	struct fetch *fetch;
	size_t due;  /* outstanding answers of the store */
	bool waited; /* has waited for other servers */
	uint64_t last_poll_ns;
	uint64_t interval_ns;
	struct cache_lookup lookup; /* of the flights without an answer */
	struct cache_key *keys;
	struct blob **values;
	size_t *asked; /* by key: the index of its flight */
	struct flight_claim *flights;
};

/* --- fetch_join.c --- */

/* Sends slices of one request, which must be held. slice->done is called for each, perhaps before this returns. */
void fetch_start(struct engine_lane *lane, struct slice *const *slices, size_t count, struct fetch_mode mode);

/* Does any slice of the request wait for a run that has not begun? */
bool fetch_request_waits(struct inference_request *request);

/* Removes the slices of a request, which must be held, from their flights, and answers them with this failure. */
void fetch_leave(struct inference_request *request, struct blob *failure);

/* --- fetch_lookup.c --- */

/* Asks the store, then runs what it does not answer. */
void fetch_look_up(struct fetch *fetch);

void lane_on_deadline(void *argument);

/* --- fetch_lease.c --- */

/* Runs what the store has not answered (fetch_run), or, with coalesce=shared, waits for another server that runs it. */
void fetch_claim(struct fetch *fetch);

void lane_on_wait(void *argument);

/* Stops all waiting for other servers, from now on. */
void fetch_stop_waiting(struct engine_lane *lane);

/* --- fetch_values.c --- */

/* Answers the waiting slices with the values of fetch->lookup. */
void fetch_take_values(struct fetch *fetch);

/* Drops flights that all slices left while the fetch waited. */
void fetch_drop_unwanted(struct fetch *fetch);

/* What a run of the flights without an answer usually costs; 0: not known yet. */
uint64_t fetch_run_cost_ns(const struct fetch *fetch);

/* How long the store may take to answer these flights. */
uint64_t fetch_lookup_timeout_ns(const struct fetch *fetch);

/* --- fetch_refresh.c --- */

/* Runs the model for answered slices, to renew their entries in the store. Nobody waits. */
void fetch_start_refresh(struct engine_lane *lane, struct slice *const *slices, size_t count);

/* --- fetch_run.c --- */

/* Runs the model for the flights without an answer, then stores the results. */
void fetch_run(struct fetch *fetch);

/* Withdraws the job. Any thread, while the fetch is held by a flight without an answer or by the caller. */
void fetch_withdraw(struct fetch *fetch);

/* --- fetch_answer.c --- */

/* An answer, or a failure, for all slices that wait for a flight. */
struct outcome {
	struct blob *entry;
	struct blob *failure;
	bool hit;
	enum slice_retry retry; /* how joined slices retry after the failure */
};

void fetch_answer(struct flight *flight, const struct outcome *outcome);

/* Answers all unanswered flights with the same failure; fetch_unanswered counts them. */
void fetch_fail(struct fetch *fetch, const struct error *error, enum slice_retry retry);

/* The same for a failure of our own, which a retry would not mend. */
void fetch_refuse(struct fetch *fetch, enum status status, const char *text);
size_t fetch_unanswered(const struct fetch *fetch);

/* --- fetch_inputs.c --- */

/*
 * Keeps the inputs of the unanswered flights independently of the leader: a reference to its body if the tensors lie
 * aligned in it, else a copy. Call it when a run is certain or the leader leaves. Returns false when memory runs out.
 */
bool fetch_keep_inputs(struct fetch *fetch);

/* Fills in the job for the unanswered flights from the kept inputs. Returns false when memory runs out. */
bool fetch_fill_job(struct fetch *fetch);

/* --- fetch.c --- */

/* Makes a fetch with room for `count` flights, still empty. */
struct fetch *fetch_new(struct engine_lane *lane, struct inference_request *leader, struct fetch_mode mode,
			size_t count);

/* The table of the fetch's flights, or NULL if they are in none; see flight_shard_lock. */
struct flight_table *fetch_table(const struct fetch *fetch);

/* A fetch is freed when nothing holds it any more. Release it on its home loop. */
void fetch_hold(struct fetch *fetch);
void fetch_release(struct fetch *fetch);

/* Adds a flight that the slice leads. */
void fetch_add_flight(struct fetch *fetch, const struct slice *slice);

/* Releases the lease of one flight, if there is one. */
void fetch_let_go(struct flight_claim *one);

/* Inserts a fetch in order of deadlines, after those with an equal one. */
void fetch_list_add(struct fetch_list *list, struct fetch *fetch, uint64_t deadline_ns);

/* Sets the timer to the first deadline of a list. */
void fetch_list_arm(const struct fetch_list *list, struct loop_timer *timer);

/* The first fetch of a list if its deadline has passed, else NULL. */
struct fetch *fetch_list_due(const struct fetch_list *list, uint64_t now_ns);

#endif
