#include "inference/statistics.h"

#include "base/memory.h"

#include <stdalign.h>
#include <stdlib.h>

#define STRIPES 16
#define CACHE_LINE 64

struct stripe {
	alignas(CACHE_LINE) pthread_mutex_t mutex; /* a loop's own, so nearly never waited for */
	struct model_statistics sums;
	struct batch_statistic *batches; /* index: batch size */
};

struct statistics {
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
	*statistics = (struct statistics){.batch_max = batch_max};
	for (size_t i = 0; i < STRIPES; i++) {
		(void)pthread_mutex_init(&statistics->stripes[i].mutex, NULL);
		statistics->stripes[i].batches = memory_array(batch_max + 1, sizeof(struct batch_statistic));
	}
	return statistics;
}

void
statistics_free(struct statistics *statistics)
{
	if (statistics == NULL) {
		return;
	}
	for (size_t i = 0; i < STRIPES; i++) {
		(void)pthread_mutex_destroy(&statistics->stripes[i].mutex);
		free(statistics->stripes[i].batches);
	}
	free(statistics);
}

struct model_statistics *
statistics_begin(struct statistics *statistics, size_t lane)
{
	struct stripe *stripe = &statistics->stripes[lane % STRIPES];

	(void)pthread_mutex_lock(&stripe->mutex);
	return &stripe->sums;
}

void
statistics_end(struct statistics *statistics, size_t lane)
{
	(void)pthread_mutex_unlock(&statistics->stripes[lane % STRIPES].mutex);
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
	to->cache_lookups += from->cache_lookups;
	to->cache_joined += from->cache_joined;
	to->cache_errors += from->cache_errors;
	to->cache_corrupt += from->cache_corrupt;
	to->saved_ns += from->saved_ns;
}

void
statistics_sum(struct statistics *statistics, struct model_statistics *sum)
{
	*sum = (struct model_statistics){0};
	for (size_t i = 0; i < STRIPES; i++) {
		add_sums(sum, statistics_begin(statistics, i));
		statistics_end(statistics, i);
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

size_t
statistics_batch_max(const struct statistics *statistics)
{
	return statistics->batch_max;
}
