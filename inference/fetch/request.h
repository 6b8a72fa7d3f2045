/*
 * One inference request and its answer.
 *
 * Whoever makes a request owns it and everything it points to until it is answered (see engine.h), then owns the answer
 * too: `entry` is a reference to drop with blob_unref.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_REQUEST_H
#define HIPPOCAMP_INFERENCE_FETCH_REQUEST_H

#include "base/arena.h"
#include "base/blob.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"
#include "inference/cache/freshness.h"
#include "inference/scheduler/job.h"

struct model;
struct request_state;

/* Why the model had to run, in the terms of RFC 9211, section 2.2. */
enum cache_forward {
	FORWARD_NONE, /* it did not have to */
	FORWARD_MISS,
	FORWARD_PARTIAL, /* some rows were hits, or joined */
	FORWARD_BYPASS,
	FORWARD_STALE,
	FORWARD_REQUEST,
};

/* What the cache did for a request. */
struct cache_report {
	bool cached; /* the model's answers are cached at all */
	enum cache_forward forward;
	bool joined;	     /* all rows joined equal ones that were under way */
	bool stored;	     /* the answer goes into the store */
	const char *trouble; /* why the store does not keep it; NULL: no trouble */
	size_t rows;
	size_t known;
	bool has_ttl;
	int64_t ttl_s;	/* until the first row expires; negative: it has expired */
	uint64_t age_s; /* of the oldest row */
};

struct inference_request {
	/* The question. */
	struct model *model;
	struct bytes id;
	const struct tensor *inputs;
	size_t input_count;
	const struct parameter *parameters;
	size_t parameter_count;
	struct cache_directives directives;
	struct blob *block;  /* holds the inputs' data; NULL: they are copied for a run */
	struct arena *arena; /* for what has to live as long as the request */
	bool wants_dates;    /* fill in created_ms and expires_ms */
	bool audits;	     /* checks another answer: uses no cache, is counted nowhere */
	bool splits_rows;    /* the caller splits the answer by row, however this model is cached */
	void (*done)(struct inference_request *request);

	/* The answer. */
	enum status status;
	struct blob *entry;  /* on success */
	struct error *error; /* on failure; the caller's memory, undefined before that */
	struct cache_report report;

	/* For a caller that makes another answer from this one (an ensemble): */
	struct run_times times; /* the longest of all runs, for each phase */
	uint64_t created_ms;	/* if wants_dates; of its oldest row */
	uint64_t expires_ms;	/* of the first row to expire; 0: none does */

	struct request_state *state; /* the engine's; NULL at first */
};

#endif
