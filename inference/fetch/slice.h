/*
 * What a request is cut into: one slice for each row where rows are cached, else one for the whole. A slice that the
 * store does not answer at once waits for a flight (flight.h).
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_SLICE_H
#define HIPPOCAMP_INFERENCE_FETCH_SLICE_H

#include "caches/cache.h"
#include "inference/fetch/request.h"

struct flight;

enum slice_result { SLICE_NOT_CACHED, SLICE_HIT, SLICE_MISS, SLICE_JOINED, SLICE_BYPASSED, SLICE_ERROR };

/* A failure may be another request's, of those whose run one joined. */
enum slice_retry {
	RETRY_NOT,
	RETRY_UNBATCHED, /* what it ran with failed: a run of its own */
	RETRY_JOINED,	 /* whoever it was for has left: the question anew */
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

#endif
