/*
 * The comparison of caches for one model: what each variant gives, in rounds in which the variants take turns, so that
 * what else goes on in the machine meets all of them.
 */
#ifndef HIPPOCAMP_MEASURE_COMPARISON_H
#define HIPPOCAMP_MEASURE_COMPARISON_H

#include "measure/estimate.h"
#include "measure/input.h"
#include "measure/load.h"
#include "measure/variant.h"

/* What is asked. */
enum workload {
	WORKLOAD_REPEATED, /* the same request again and again */
	WORKLOAD_POPULAR,  /* inputs that come again by their popularity */
	WORKLOAD_NEW,	   /* no input twice, as far as there are so many */
};
#define WORKLOADS 3
#define LEVELS 2 /* of concurrency */
#define PROBE_SIZES 4
#define ROUNDS_MAX ESTIMATE_VALUES_MAX

struct comparison_options {
	const char *repository;
	struct variant_options variants;
	struct input_options inputs;
	struct popularity_options popularity; /* of WORKLOAD_POPULAR */
	size_t batch;
	unsigned levels[LEVELS];
	size_t level_count; /* 1 or 2 */
	size_t rounds;
	uint64_t window_ns;
	const bool *stopped;
};

/* What one variant gives for one workload at one level: a figure for each round. */
struct cell {
	double throughputs[ROUNDS_MAX]; /* inferences a second */
	double means[ROUNDS_MAX];	/* latencies, in ns */
	double medians[ROUNDS_MAX];
	double p99s[ROUNDS_MAX];
	uint64_t hits; /* of all rounds together, as far as replies say so */
	uint64_t told; /* replies that say whether they are hits */
	uint64_t failed;
};

struct comparison {
	struct comparison_options options;
	bool has[VARIANTS];
	char why_not[VARIANTS][ERROR_TEXT_SIZE]; /* of variants that are not there; empty: nobody asked for them */
	size_t rounds;				 /* that are complete */
	struct cell cells[VARIANTS][WORKLOADS][LEVELS];
	size_t probe_sizes[PROBE_SIZES];		  /* of answers, in bytes */
	double probes[VARIANTS][PROBE_SIZES][ROUNDS_MAX]; /* latencies of hits, in ns */
	double computes[ROUNDS_MAX];			  /* what the model itself took for a request, in ns */
	double answer_bytes;				  /* of one request */
	double request_bytes;
	bool new_is_known; /* there were too few inputs for WORKLOAD_NEW, which were asked for again */
	size_t checked;	   /* inputs whose answers were compared */
	size_t different;  /* of them, those that some variant answered in other bytes than the first variant */
};

/* Called after each step, for the progress that people see. */
typedef void (*comparison_progress_fn)(void *context, size_t done, size_t all, const char *what);

/* Runs it. What an interruption leaves is what the complete rounds have given; fails if there is none. */
enum status comparison_run(struct comparison *comparison, struct loop *loop, comparison_progress_fn progress,
			   void *context, struct error *error);

const char *workload_name(const struct comparison *comparison, enum workload workload);

/* --- What follows from the figures --- */

/* The mean latency of one request at the lowest level, in ns: the median of the rounds. */
double comparison_latency(const struct comparison *comparison, enum variant_kind kind, enum workload workload);

/*
 * The share of hits above which requests take less time with the cache than without; above 1: there is none. A miss
 * costs what it takes beyond a request without a cache, in the same round, at the lowest level. Means nothing if
 * new_is_known.
 */
struct estimate comparison_break_even(const struct comparison *comparison, enum variant_kind kind);

#endif
