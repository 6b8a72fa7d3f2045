/*
 * The statistics of a model, for its statistics endpoint and the metrics. The names and rules of the first part are
 * Triton's: a hit counts in `success` and `queue`, but in no compute figure; a miss costs look-up and insertion.
 *
 * Written by loop threads, each into a stripe of its own (its mutex is there for the readers), read by any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_STATISTICS_H
#define HIPPOCAMP_INFERENCE_MODELS_STATISTICS_H

#include "inference/models/top_keys.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct duration_statistic {
	uint64_t count;
	uint64_t ns;
};

struct batch_statistic {
	struct duration_statistic compute_input;
	struct duration_statistic compute_infer;
	struct duration_statistic compute_output;
};

enum failure_reason { FAILURE_REJECTED, FAILURE_CANCELED, FAILURE_BACKEND, FAILURE_OTHER };
#define FAILURE_REASONS 4

#define HISTOGRAM_BUCKETS 8

/* Counts by bucket; the last is for values above all bounds. */
struct histogram {
	uint64_t buckets[HISTOGRAM_BUCKETS + 1];
	uint64_t sum;
};

extern const uint64_t hit_age_bounds[HISTOGRAM_BUCKETS];
extern const uint64_t value_size_bounds[HISTOGRAM_BUCKETS];

void histogram_add(struct histogram *histogram, const uint64_t *bounds, uint64_t value);

/*
 * Counts of answers by how long they took, in 4 buckets for each power of two of microseconds: the last is for two
 * minutes (117 s) and more.
 */
#define LATENCY_BUCKETS 104
struct latency_counts {
	uint64_t buckets[LATENCY_BUCKETS];
	uint64_t sum_us;
};

void latency_add(struct latency_counts *counts, uint64_t ns);
void latency_add_counts(struct latency_counts *to, const struct latency_counts *from);

/* Where a bucket ends, in microseconds. */
uint64_t latency_bound_us(size_t bucket);

/* The latency in microseconds that `share` (0 to 1) of the answers did not exceed, by interpolation; 0: there are none.
 */
double latency_quantile(const struct latency_counts *counts, double share);

enum latency_outcome {
	LATENCY_HIT,   /* the cache has answered, or an equal request */
	LATENCY_MODEL, /* the model has run for it */
};
#define LATENCY_OUTCOMES 2

/* How rows that several servers asked for concurrently were run or waited for. */
struct lease_statistics {
	uint64_t granted;   /* run under a lease */
	uint64_t held;	    /* waited, as another server held the lease; of these, unless all left: */
	uint64_t answered;  /* answered by that server */
	uint64_t takeover;  /* run under the lease, which that server released or lost */
	uint64_t duplicate; /* run without a lease */
};

struct model_statistics {
	uint64_t last_inference_ms;
	uint64_t inference_count; /* rows that ran */
	uint64_t execution_count; /* runs */
	struct duration_statistic success;
	struct duration_statistic fail;
	struct duration_statistic queue;
	struct duration_statistic compute_input;
	struct duration_statistic compute_infer;
	struct duration_statistic compute_output;
	struct duration_statistic cache_hit;
	struct duration_statistic cache_miss;
	uint64_t failures[FAILURE_REASONS];

	/*
	 * How each row was answered, for cached models (a request that is cached as a whole counts as one row). Counted
	 * together when the request is answered, so `lookups` is always the sum of the next five.
	 */
	uint64_t lookups;
	uint64_t hits;
	uint64_t misses;
	uint64_t joined;   /* waited for an equal row that was under way */
	uint64_t bypassed; /* the cache was not to be asked */
	uint64_t errors;   /* the store could not be asked; the model ran */

	uint64_t corrupt;   /* damaged or foreign entries; also counted as misses */
	uint64_t wrong_mac; /* of these: altered, or made without the secret */
	uint64_t stale;	    /* hits on entries past their lifetime */
	uint64_t refreshes; /* rows run in the background */
	uint64_t too_large; /* answers not stored for their size */
	struct lease_statistics leases;
	uint64_t saved_us;				   /* what the answers from the cache once cost to compute */
	struct latency_counts latencies[LATENCY_OUTCOMES]; /* of successes */
	struct histogram hit_age;			   /* seconds */
	struct histogram value_size;			   /* bytes, of what is stored */
};

/* Of a cached model, in one stripe. */
struct key_statistics {
	struct top_keys saved; /* answers without a run, by what a run would have cost */
	struct top_keys spent; /* runs of the model for requests */
};

struct statistics;

/* `batch_max` is the largest batch that is counted by size. */
struct statistics *statistics_new(size_t batch_max);
void statistics_unref(struct statistics *statistics);

/*
 * Has *statistics, in which nobody counts yet, go on with the counts of `others`, from which it then takes a reference;
 * but not if they are for batches of other sizes.
 */
void statistics_continue(struct statistics **statistics, struct statistics *others);

/* Between these two the caller's stripe is locked; `lane` is the index of the calling loop. */
struct model_statistics *statistics_begin(struct statistics *statistics, size_t lane);
void statistics_end(struct statistics *statistics, size_t lane);

void statistics_add_leases(struct lease_statistics *to, const struct lease_statistics *from);

/* Counts one run of `batch` rows into the stripe; between begin and end. */
void statistics_add_batch(struct statistics *statistics, size_t lane, size_t batch, const struct batch_statistic *run);

/* The stripe's; between begin and end. */
struct key_statistics *statistics_keys(struct statistics *statistics, size_t lane);

/* Sums over the stripes. */
void statistics_sum(struct statistics *statistics, struct model_statistics *sum);
void statistics_sum_batch(struct statistics *statistics, size_t batch, struct batch_statistic *sum);
/* Those of all stripes, the most first. */
void statistics_list_keys(struct statistics *statistics, struct top_key_list *saved, struct top_key_list *spent);
size_t statistics_batch_max(const struct statistics *statistics);

static inline void
duration_add(struct duration_statistic *statistic, uint64_t ns)
{
	statistic->count++;
	statistic->ns += ns;
}

#endif
