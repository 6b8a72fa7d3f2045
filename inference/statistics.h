/*
 * What a model's statistics endpoint and the metrics tell. The names and rules of the first part are Triton's: a hit
 * counts as a success and in the queue, but in no compute figure; a miss costs look-up and insertion.
 *
 * Written by loop threads, each into a stripe of its own (its mutex is there for the readers), read by any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_STATISTICS_H
#define HIPPOCAMP_INFERENCE_STATISTICS_H

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

	/* Of requests to models with a cache: how each was answered. They add up to the look-ups. */
	uint64_t cache_lookups;
	uint64_t cache_joined;	/* waited for an equal request that was under way */
	uint64_t cache_errors;	/* the store could not be asked; the model ran */
	uint64_t cache_corrupt; /* an entry that was damaged or foreign; a miss as well */
	uint64_t saved_ns;	/* what the answers from the cache once cost to compute */
};

struct statistics;

/* `batch_max` is the largest batch that can run. */
struct statistics *statistics_new(size_t batch_max);
void statistics_free(struct statistics *statistics);

/* Between these two the caller's stripe is locked; `lane` is the index of the calling loop. */
struct model_statistics *statistics_begin(struct statistics *statistics, size_t lane);
void statistics_end(struct statistics *statistics, size_t lane);

/* Counts one run of `batch` rows into the stripe; between begin and end. */
void statistics_add_batch(struct statistics *statistics, size_t lane, size_t batch, const struct batch_statistic *run);

/* Sums over the stripes. */
void statistics_sum(struct statistics *statistics, struct model_statistics *sum);
void statistics_sum_batch(struct statistics *statistics, size_t batch, struct batch_statistic *sum);
size_t statistics_batch_max(const struct statistics *statistics);

static inline void
duration_add(struct duration_statistic *statistic, uint64_t ns)
{
	statistic->count++;
	statistic->ns += ns;
}

#endif
