/*
 * A slice: a part of a request that has a key of its own. A request is one slice for each row where rows are cached,
 * else one slice. A slice that the store does not answer at once waits for a flight (flight.h).
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_SLICE_H
#define HIPPOCAMP_INFERENCE_FETCH_SLICE_H

#include "caches/cache.h"
#include "inference/fetch/request_state.h"

struct flight;

enum slice_result { SLICE_NOT_CACHED, SLICE_HIT, SLICE_MISS, SLICE_JOINED, SLICE_BYPASSED, SLICE_ERROR };

/* How to retry after a failure, which may be due to another request of a joined run. */
enum slice_retry {
	RETRY_NOT,
	RETRY_UNBATCHED, /* run it by itself: its batch failed */
	RETRY_JOINED,	 /* ask again: the request that led the run has left */
};

struct slice {
	struct loop_mail mail; /* first; delivers an answer from another loop */
	struct inference_request *request;
	void (*done)(struct slice *slice); /* it has its answer: on_slice_done; called on its request's loop, perhaps
					      before fetch_start returns */
	size_t rows;
	struct bytes *data; /* by the config's inputs; `at` NULL where one is missing */
	bool keyed;
	struct cache_key key;
	uint32_t completions;  /* flight_completions of its key, before the store was asked at once; 0: it was not */
	bool shared;	       /* its flight is in the table */
	struct flight *flight; /* that it waits for */
	TAILQ_ENTRY(slice) waiting;
	bool leads;
	enum slice_retry retry; /* how to retry after the failure */
	bool retried;		/* by itself */
	bool revalidate;	/* answered, and to be renewed */
	bool resolved;

	/* The answer: an entry, or a failure (a struct error in a block). */
	enum slice_result result;
	bool expired;  /* the store's entry had expired */
	bool unwanted; /* the store's entry was too old for this request */
	bool stored;
	struct run_times times;
	struct blob *entry;
	struct blob *stale; /* to be used if the run fails */
	struct blob *failure;
};

TAILQ_HEAD(slice_list, slice);

#endif
