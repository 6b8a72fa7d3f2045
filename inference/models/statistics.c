#include "inference/models/statistics.h"

#include "base/memory.h"

#include <stdatomic.h>
#include <stdalign.h>
#include <stdlib.h>

#define STRIPES 16
#define CACHE_LINE 64

const uint64_t hit_age_bounds[HISTOGRAM_BUCKETS] = {1, 10, 60, 600, 3600, 21600, 86400, 604800};
const uint64_t value_size_bounds[HISTOGRAM_BUCKETS] = {256, 1024, 4096, 16384, 65536, 1048576, 16777216, 268435456};

void
histogram_add(struct histogram *histogram, const uint64_t *bounds, uint64_t value)
{
	size_t bucket = 0;

	while (bucket < HISTOGRAM_BUCKETS && value > bounds[bucket]) {
		bucket++;
	}
	histogram->buckets[bucket]++;
	histogram->sum += value;
}

struct stripe {
	alignas(CACHE_LINE) pthread_mutex_t mutex; /* of one loop, so rarely contended */
	bool is_used;
	struct model_statistics sums;
	struct batch_statistic *batches; /* index: batch size */
	struct key_statistics *keys;	 /* NULL: nothing was looked up */
};

struct statistics {
	atomic_uint references;
	size_t batch_max;
	struct stripe stripes[STRIPES];
};

struct statistics *
statistics_new(size_t batch_max)
{
	struct statistics *statistics = aligned_alloc(CACHE_LINE, sizeof(*statistics));

	if (statistics == NULL) {
		abort();
	}
	*statistics = (struct statistics){.references = 1, .batch_max = batch_max};
	for (size_t i = 0; i < STRIPES; i++) {
		(void)pthread_mutex_init(&statistics->stripes[i].mutex, NULL);
		statistics->stripes[i].batches = memory_array(batch_max + 1, sizeof(struct batch_statistic));
	}
	return statistics;
}

void
statistics_unref(struct statistics *statistics)
{
	if (statistics == NULL || atomic_fetch_sub(&statistics->references, 1) > 1) {
		return;
	}
	for (size_t i = 0; i < STRIPES; i++) {
		(void)pthread_mutex_destroy(&statistics->stripes[i].mutex);
		free(statistics->stripes[i].batches);
		free(statistics->stripes[i].keys);
	}
	free(statistics);
}

void
statistics_continue(struct statistics **statistics, struct statistics *others)
{
	if ((*statistics)->batch_max == others->batch_max) {
		statistics_unref(*statistics);
		(void)atomic_fetch_add(&others->references, 1);
		*statistics = others;
	}
}

struct model_statistics *
statistics_begin(struct statistics *statistics, size_t lane)
{
	struct stripe *stripe = &statistics->stripes[lane % STRIPES];

	(void)pthread_mutex_lock(&stripe->mutex);
	stripe->is_used = true;
	return &stripe->sums;
}

void
statistics_end(struct statistics *statistics, size_t lane)
{
	(void)pthread_mutex_unlock(&statistics->stripes[lane % STRIPES].mutex);
}

struct key_statistics *
statistics_keys(struct statistics *statistics, size_t lane)
{
	struct stripe *stripe = &statistics->stripes[lane % STRIPES];

	if (stripe->keys == NULL) {
		stripe->keys = memory_new(sizeof(*stripe->keys));
	}
	return stripe->keys;
}

static void
add_duration(struct duration_statistic *to, const struct duration_statistic *from)
{
	to->count += from->count;
	to->ns += from->ns;
}

static void
add_batch(struct batch_statistic *to, const struct batch_statistic *from)
{
	add_duration(&to->compute_input, &from->compute_input);
	add_duration(&to->compute_infer, &from->compute_infer);
	add_duration(&to->compute_output, &from->compute_output);
}

void
statistics_add_batch(struct statistics *statistics, size_t lane, size_t batch, const struct batch_statistic *run)
{
	if (batch <= statistics->batch_max) {
		add_batch(&statistics->stripes[lane % STRIPES].batches[batch], run);
	}
}

void
statistics_add_leases(struct lease_statistics *to, const struct lease_statistics *from)
{
	to->granted += from->granted;
	to->held += from->held;
	to->answered += from->answered;
	to->takeover += from->takeover;
	to->duplicate += from->duplicate;
}

void
latency_add(struct latency_counts *counts, uint64_t ns)
{
	uint64_t us = ns / 1000;
	unsigned bits = us < 4 ? 3 : 64 - (unsigned)__builtin_clzll(us);
	size_t bucket = ((size_t)(bits - 3) << 2) + (us >> (bits - 3));

	counts->buckets[bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1]++;
	counts->sum_us += us;
}

void
latency_add_counts(struct latency_counts *to, const struct latency_counts *from)
{
	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		to->buckets[i] += from->buckets[i];
	}
	to->sum_us += from->sum_us;
}

uint64_t
latency_bound_us(size_t bucket)
{
	return bucket < 4 ? bucket + 1 : (UINT64_C(5) + (bucket & 3)) << ((bucket >> 2) - 1);
}

double
latency_quantile(const struct latency_counts *counts, double share)
{
	uint64_t all = 0;
	double wanted;
	double below = 0;

	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		all += counts->buckets[i];
	}
	wanted = share * (double)all;
	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		double own = (double)counts->buckets[i];
		double from = i == 0 ? 0 : (double)latency_bound_us(i - 1);

		if (own > 0 && below + own >= wanted) {
			return from + ((double)latency_bound_us(i) - from) * (wanted - below) / own;
		}
		below += own;
	}
	return 0;
}

static void
add_histogram(struct histogram *to, const struct histogram *from)
{
	for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		to->buckets[i] += from->buckets[i];
	}
	to->sum += from->sum;
}

static void
add_sums(struct model_statistics *to, const struct model_statistics *from)
{
	if (from->last_inference_ms > to->last_inference_ms) {
		to->last_inference_ms = from->last_inference_ms;
	}
	to->inference_count += from->inference_count;
	to->execution_count += from->execution_count;
	add_duration(&to->success, &from->success);
	add_duration(&to->fail, &from->fail);
	add_duration(&to->queue, &from->queue);
	add_duration(&to->compute_input, &from->compute_input);
	add_duration(&to->compute_infer, &from->compute_infer);
	add_duration(&to->compute_output, &from->compute_output);
	add_duration(&to->cache_hit, &from->cache_hit);
	add_duration(&to->cache_miss, &from->cache_miss);
	for (size_t i = 0; i < FAILURE_REASONS; i++) {
		to->failures[i] += from->failures[i];
	}
	to->lookups += from->lookups;
	to->hits += from->hits;
	to->misses += from->misses;
	to->joined += from->joined;
	to->bypassed += from->bypassed;
	to->errors += from->errors;
	to->corrupt += from->corrupt;
	to->wrong_mac += from->wrong_mac;
	to->stale += from->stale;
	to->refreshes += from->refreshes;
	to->too_large += from->too_large;
	statistics_add_leases(&to->leases, &from->leases);
	to->saved_us += from->saved_us;
	for (size_t i = 0; i < LATENCY_OUTCOMES; i++) {
		latency_add_counts(&to->latencies[i], &from->latencies[i]);
	}
	add_histogram(&to->hit_age, &from->hit_age);
	add_histogram(&to->value_size, &from->value_size);
}

void
statistics_sum(struct statistics *statistics, struct model_statistics *sum)
{
	*sum = (struct model_statistics){0};
	for (size_t i = 0; i < STRIPES; i++) {
		struct stripe *stripe = &statistics->stripes[i];

		(void)pthread_mutex_lock(&stripe->mutex);
		if (stripe->is_used) { /* of most models most are not */
			add_sums(sum, &stripe->sums);
		}
		(void)pthread_mutex_unlock(&stripe->mutex);
	}
}

void
statistics_sum_batch(struct statistics *statistics, size_t batch, struct batch_statistic *sum)
{
	*sum = (struct batch_statistic){0};
	for (size_t i = 0; i < STRIPES; i++) {
		(void)statistics_begin(statistics, i);
		add_batch(sum, &statistics->stripes[i].batches[batch]);
		statistics_end(statistics, i);
	}
}

void
statistics_list_keys(struct statistics *statistics, struct top_key_list *saved, struct top_key_list *spent)
{
	saved->count = spent->count = 0;
	for (size_t i = 0; i < STRIPES; i++) {
		struct stripe *stripe = &statistics->stripes[i];
		struct key_statistics keys;
		bool has_keys;

		(void)pthread_mutex_lock(&stripe->mutex);
		has_keys = stripe->keys != NULL;
		if (has_keys) {
			keys = *stripe->keys;
		}
		(void)pthread_mutex_unlock(&stripe->mutex);
		if (has_keys) {
			top_key_list_add(saved, &keys.saved);
			top_key_list_add(spent, &keys.spent);
		}
	}
	top_key_list_sort(saved);
	top_key_list_sort(spent);
}

size_t
statistics_batch_max(const struct statistics *statistics)
{
	return statistics->batch_max;
}
