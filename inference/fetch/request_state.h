/*
 * What the engine keeps for a request while it answers it: private to inference/ and inference/fetch. It lies in the
 * request's arena, and is gone with that. On the thread of the request's lane.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_REQUEST_STATE_H
#define HIPPOCAMP_INFERENCE_FETCH_REQUEST_STATE_H

#include "inference/fetch/request.h"
#include "inference/scheduler/ordering.h"
#include "loop/loop.h"

struct engine_lane;
struct preparation;
struct slice;

/* Parameters by which the steps of an ensemble queue; requests that differ in them do not join. */
struct queue_class {
	uint64_t priority;
	uint64_t timeout;
};

static inline bool
queue_class_equal(const struct queue_class *a, const struct queue_class *b)
{
	return a->priority == b->priority && a->timeout == b->timeout;
}

/* Does anybody still wait for the request to run? */
enum request_wait {
	REQUEST_WANTED,
	REQUEST_TIMED_OUT, /* its queue timeout has expired, but not all of it could leave its queues */
	REQUEST_WITHDRAWN, /* it has left all queues, and is answered as failed */
};

struct request_state {
	struct inference_request *request;
	struct engine_lane *lane;
	struct loop_mail mail; /* delivers the answer in its turn */
	struct order order;

	/* What was made of the question. */
	struct preparation *preparation; /* see prepare.h; NULL: nothing was done ahead */
	const struct tensor **ordered;	 /* by the config's inputs */
	int64_t batch;
	struct slice *slices;
	size_t slice_count;
	bool by_row;	     /* each slice is a row that other requests may share */
	uint64_t row_losses; /* of its model, when its keys were made: see model_row_losses */
	size_t level;	     /* of priority */
	struct queue_class queue_class;

	/* How far it is. */
	bool starting; /* engine_infer has not returned yet */
	bool pending;  /* holds its model and its lane */
	bool answered;
	enum request_wait wait;
	size_t unresolved; /* slices without a final result, and holds */
	bool renews;	   /* some slice is answered, and to be renewed */
	uint64_t delay_ns;
	struct loop_timer *timer; /* of its queue timeout; NULL: none */

	/* The audit of an answer that was assembled from rows. */
	struct slice *audit;  /* the whole request once more; NULL: there is none */
	bool must_be_audited; /* without a verdict there is no answer */
	bool scattered;	      /* some row ran again by itself */

	/* For statistics. */
	bool looked_up;
	uint64_t start_ns;
	uint64_t keyed_ns; /* when its keys were known, or there was nothing to look up */
	uint64_t lookup_ns;
	uint64_t wall_ms; /* when cached entries were judged; if it waited, when it ended */
};

#endif
