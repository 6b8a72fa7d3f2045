/*
 * Load on a server: a fixed number of requests at a time (closed loop), or requests at given times (open loop). In an
 * open loop latency counts from the time at which a request was due, so that a server that stalls is charged for all
 * requests that this holds up (Schroeder et al., "Open Versus Closed", NSDI 2006; Tene's "coordinated omission").
 * On one loop's thread.
 */
#ifndef HIPPOCAMP_MEASURE_LOAD_H
#define HIPPOCAMP_MEASURE_LOAD_H

#include "measure/client.h"
#include "measure/latencies.h"
#include "measure/popularity.h"
#include "measure/replay.h"

#define LOAD_PATIENCE_NS UINT64_C(10000000000)
#define LOAD_OUTSTANDING_MAX 1024 /* at a time; more wait for one of them, which counts as their latency */

struct load_options {
	unsigned concurrency; /* 0: an open loop */
	double rate;	      /* of an open loop: requests a second */
	bool is_poisson;      /* at random times; else at regular ones */
	struct popularity_options popularity;
	const struct replay *replay; /* in place of `popularity`; outlives the load, and `limit` ends it. NULL: none */
	bool is_timed;		     /* of an open loop: at the times of `replay`, not at `rate` */
	uint64_t limit;		     /* requests in all; 0: no limit */
	uint64_t least;		     /* answers that a window must have, as far as LOAD_PATIENCE_NS suffices */
};

/* What happened within a stretch of time. */
struct load_window {
	uint64_t begun_ns;
	uint64_t ended_ns;
	uint64_t sent;
	uint64_t failed;
	uint64_t delayed;  /* of an open loop: requests sent more than 1 ms late */
	uint64_t received; /* bytes of bodies */
	char why[512];	   /* the first failure */
	struct latencies latency;
	struct latencies hits; /* of these, those that a cache answered, as far as replies say so */
	struct latencies misses;
};

struct load;

/* How many inputs were asked for so far, those of rows of batches by themselves. */
uint64_t load_inputs(const struct load *load);

/* The client, `form` and what they point to outlive it. NULL: the message says why no request can be made. */
struct load *load_new(struct loop *loop, struct client *client, const struct request_form *form,
		      const struct load_options *options, struct error *error);

/* Ends all requests: those under way get some seconds. NULL: none. */
void load_free(struct load *load);

/*
 * Sends requests while the loop turns, for `ns`, until *stopped, or until the last of a limited number is answered; the
 * first call begins. Between calls requests go on as far as the loop turns. Fails where a request cannot be made.
 */
enum status load_run(struct load *load, uint64_t ns, const bool *stopped, struct load_window *window,
		     struct error *error);

#endif
