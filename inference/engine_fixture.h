/*
 * What unit tests of the engine run it on: a store, an executor and a clock of their own, one model, and those who ask.
 * A look-up, a job or an insert ends when a test says so, and time passes when a test lets it; nothing waits for real.
 *
 * The model is named "m": its output y is twice its input x, plus `executor.added`, for each row of one INT32. The
 * fixture replaces clock_gettime in the whole program.
 */
#ifndef HIPPOCAMP_INFERENCE_ENGINE_FIXTURE_H
#define HIPPOCAMP_INFERENCE_ENGINE_FIXTURE_H

#include "base/clock.h"
#include "base/unit_test.h"
#include "inference/cache/entry.h"
#include "inference/engine_internal.h"

#define FIXTURE_JOBS_MAX 16
#define FIXTURE_ROWS_MAX 4
#define FIXTURE_LOOKUP_TIMEOUT_MS 10

/* --- The store --- */

struct fixture_entry {
	struct digest_value key;
	struct blob *value;
};

struct fixture_store {
	struct fixture_entry entries[64];
	size_t count;
	bool slow;	  /* look-ups wait for fixture_answer_lookups */
	bool slow_leases; /* leases wait for fixture_answer_leases */
	bool down;	  /* look-ups fail */
	bool tells;	  /* cache_ops.peek finds what there is */
	struct cache_lookup *lookups_waiting[8];
	size_t lookups_waiting_count;
	struct cache_lease *leases_waiting[8];
	size_t leases_waiting_count;
	size_t lookups;
	size_t inserts;
	enum cache_lease_result lease; /* what leases are answered with */
	size_t grants;		       /* so many of the next ones are granted whatever `lease` says */
	size_t leased;
	size_t released;
};

extern struct fixture_store store;

/* Stores a value, as another server would; takes a reference. */
void fixture_put(const struct digest_value *key, struct blob *value);
void fixture_empty_store(void);
void fixture_answer_lookups(void);
void fixture_answer_leases(void);

/* --- The executor --- */

struct fixture_executor {
	struct job *jobs[FIXTURE_JOBS_MAX]; /* in the order in which they were submitted */
	size_t count;
	size_t withdrawn;
	bool full;     /* takes no more jobs */
	int32_t added; /* distinguishes the runs */
};

extern struct fixture_executor executor;

/* Ends the job with this index; STATUS_CANCELLED: as withdrawn. */
void fixture_finish(size_t index, enum status status);

/* --- The engine, and its model --- */

struct fixture_engine {
	struct loop *loop;
	struct response_cache cache;
	struct engine *engine;
	struct engine_lane *lane;
	struct model model;
	struct model_tensor input;
	struct model_tensor output;
	int64_t dim;
	size_t order;
};

extern struct fixture_engine this;

/* For each test. The second one fails where a test leaves anything under way. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* Makes a model like "m" under another name, and frees what is its own. The struct is the caller's. */
void fixture_make_model(struct model *model, const char *name);
void fixture_free_model(struct model *model);

/* How long answers of the model live, in seconds; 0: for ever, or no window. */
void fixture_keep_for(struct model *model, uint64_t ttl_s, uint64_t revalidate_s, uint64_t on_error_s);

/* Delivers the loop's mail and whatever follows from it. */
void fixture_settle(void);

/* Ends the job with this index well, and settles. */
void fixture_run(size_t index);

/* Lets this time pass. */
void fixture_pass(uint64_t ms);

/* --- Those who ask --- */

struct asker {
	struct inference_request request; /* first */
	struct arena arena;
	struct error error;
	struct tensor input;
	int64_t shape[2];
	int32_t values[FIXTURE_ROWS_MAX];
	bool done;
};

extern const struct cache_directives no_wish;

/* Fills in a request for rows of these values. */
void asker_fill(struct asker *asker, struct model *model, const struct cache_directives *directives, size_t count,
		const int32_t *values);

/* Fills it in and starts it. */
void asker_ask(struct asker *asker, struct model *model, const struct cache_directives *directives, size_t count,
	       const int32_t *values);

#define ASK_OF(asker, model, ...)                                                                                      \
	asker_ask((asker), (model), &no_wish, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t),                      \
		  (int32_t[]){__VA_ARGS__})
#define ASK(asker, ...) ASK_OF(asker, &this.model, __VA_ARGS__)

/* Each value of the answer must be `factor` times that of the question, plus `added`. Ends the asker. */
void asker_assert_answer(struct asker *asker, int32_t factor, int32_t added);
void asker_assert_answered(struct asker *asker, int32_t added); /* the same, with factor 2 */
void asker_assert_failed(struct asker *asker, enum status status);

/* Asks for these values, so that the store has their answers. */
#define STORE(...)                                                                                                     \
	do {                                                                                                           \
		struct asker first_;                                                                                   \
		ASK(&first_, __VA_ARGS__);                                                                             \
		fixture_run(executor.count - 1);                                                                       \
		asker_assert_answered(&first_, executor.added);                                                        \
		executor.count = 0;                                                                                    \
	} while (0)

#endif
