#include "server/history.h"

#include "base/memory.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

/* In the order of `fields`. */
struct sample {
	uint64_t time_ms;
	uint64_t requests;
	uint64_t failures;
	uint64_t hits; /* rows, as the four that follow */
	uint64_t joined;
	uint64_t misses;
	uint64_t bypassed;
	uint64_t errors;
	uint64_t saved_us; /* compute time */
	uint64_t hit_p50_us;
	uint64_t hit_p99_us;
	uint64_t model_p50_us;
	uint64_t model_p99_us;
	uint64_t entries;
	uint64_t used_bytes;
	uint64_t evictions;
};

static const char fields[] = "\"time_ms\",\"requests\",\"failures\",\"hits\",\"joined\",\"misses\",\"bypassed\","
			     "\"errors\",\"saved_us\",\"hit_p50_us\",\"hit_p99_us\",\"model_p50_us\",\"model_p99_us\","
			     "\"entries\",\"used_bytes\",\"evictions\"";
#define FIELDS (sizeof(struct sample) / sizeof(uint64_t))

struct history {
	pthread_mutex_t mutex;			/* for the ring */
	struct sample samples[HISTORY_SECONDS]; /* a ring */
	size_t count;
	size_t next;
	struct model_statistics totals; /* of all models, at the last sample; so the next one */
	uint64_t evictions;
};

struct history *
history_new(void)
{
	struct history *history = memory_new(sizeof(*history));

	(void)pthread_mutex_init(&history->mutex, NULL);
	return history;
}

void
history_free(struct history *history)
{
	if (history != NULL) {
		(void)pthread_mutex_destroy(&history->mutex);
		free(history);
	}
}

/* --- Samples --- */

static void
add(struct model_statistics *to, const struct model_statistics *from)
{
	to->success.count += from->success.count;
	to->fail.count += from->fail.count;
	to->hits += from->hits;
	to->joined += from->joined;
	to->misses += from->misses;
	to->bypassed += from->bypassed;
	to->errors += from->errors;
	to->saved_us += from->saved_us;
	for (size_t i = 0; i < LATENCY_OUTCOMES; i++) {
		latency_add_counts(&to->latencies[i], &from->latencies[i]);
	}
}

static void
sum_models(const struct model_table *table, struct model_statistics *totals)
{
	*totals = (struct model_statistics){0};
	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			struct model_statistics sums;

			statistics_sum(table->entries[i].versions[k]->statistics, &sums);
			add(totals, &sums);
		}
	}
}

/* Totals fall when a model is unloaded, whose numbers go with it. */
static uint64_t
since(uint64_t before, uint64_t now)
{
	return now > before ? now - before : 0;
}

static void
take_latencies(const struct latency_counts *before, const struct latency_counts *now, uint64_t *p50, uint64_t *p99)
{
	struct latency_counts between = {0};

	for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
		between.buckets[i] = since(before->buckets[i], now->buckets[i]);
	}
	*p50 = (uint64_t)latency_quantile(&between, 0.5);
	*p99 = (uint64_t)latency_quantile(&between, 0.99);
}

static void
take_requests(const struct model_statistics *before, const struct model_statistics *now, struct sample *sample)
{
	sample->failures = since(before->fail.count, now->fail.count);
	sample->requests = since(before->success.count, now->success.count) + sample->failures;
	sample->hits = since(before->hits, now->hits);
	sample->joined = since(before->joined, now->joined);
	sample->misses = since(before->misses, now->misses);
	sample->bypassed = since(before->bypassed, now->bypassed);
	sample->errors = since(before->errors, now->errors);
	sample->saved_us = since(before->saved_us, now->saved_us);
	take_latencies(&before->latencies[LATENCY_HIT], &now->latencies[LATENCY_HIT], &sample->hit_p50_us,
		       &sample->hit_p99_us);
	take_latencies(&before->latencies[LATENCY_MODEL], &now->latencies[LATENCY_MODEL], &sample->model_p50_us,
		       &sample->model_p99_us);
}

void
history_sample(struct history *history, const struct model_table *table, const struct cache_statistics *cache,
	       uint64_t now_ms)
{
	struct sample sample = {.time_ms = now_ms};
	struct model_statistics totals;

	sum_models(table, &totals);
	take_requests(&history->totals, &totals, &sample);
	if (cache != NULL) {
		sample.entries = cache->entries;
		sample.used_bytes = cache->used_bytes;
		sample.evictions = since(history->evictions, cache->evictions);
		history->evictions = cache->evictions;
	}
	history->totals = totals;
	(void)pthread_mutex_lock(&history->mutex);
	history->samples[history->next] = sample;
	history->next = (history->next + 1) % HISTORY_SECONDS;
	history->count += history->count < HISTORY_SECONDS;
	(void)pthread_mutex_unlock(&history->mutex);
}

/* --- JSON --- */

static void
write_sample(const struct sample *sample, struct buf *json)
{
	uint64_t values[FIELDS];

	memcpy(values, sample, sizeof(values));
	for (size_t i = 0; i < FIELDS; i++) {
		buf_byte(json, i == 0 ? '[' : ',');
		buf_unsigned(json, values[i]);
	}
	buf_byte(json, ']');
}

void
history_write(struct history *history, uint64_t since_ms, struct buf *json)
{
	bool is_first = true;
	size_t first;

	buf_format(json, "\"fields\":[%s],\"samples\":[", fields);
	(void)pthread_mutex_lock(&history->mutex);
	first = (history->next + HISTORY_SECONDS - history->count) % HISTORY_SECONDS;
	for (size_t i = 0; i < history->count; i++) {
		const struct sample *sample = &history->samples[(first + i) % HISTORY_SECONDS];

		if (sample->time_ms > since_ms) {
			if (!is_first) {
				buf_byte(json, ',');
			}
			is_first = false;
			write_sample(sample, json);
		}
	}
	(void)pthread_mutex_unlock(&history->mutex);
	buf_byte(json, ']');
}
