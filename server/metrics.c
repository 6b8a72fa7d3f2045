/* GET /metrics in the Prometheus text format: Triton's metrics with its names and labels, then our own. */
#include "base/metric.h"
#include "inference/remote.h"
#include "server/handlers.h"
#include "upstream/grpc_upstream.h"
#include "upstream/replica.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

/* A model version and its statistics, read once for all metric families. */
struct model_sample {
	const struct model *model;
	struct model_statistics sums;
	uint64_t pending;
	char version[24];
	struct buf labels;
};

struct model_metric {
	const char *name;
	const char *type;
	const char *help;
	uint64_t (*read)(const struct model_sample *sample);
	bool cached_only; /* only for models with a cache */
};

#define READER(function, expression)                                                                                   \
	static uint64_t function(const struct model_sample *sample)                                                    \
	{                                                                                                              \
		return expression;                                                                                     \
	}

READER(read_success, sample->sums.success.count)
READER(read_inferences, sample->sums.inference_count)
READER(read_executions, sample->sums.execution_count)
READER(read_request_us, (sample->sums.success.ns + sample->sums.fail.ns) / 1000)
READER(read_queue_us, sample->sums.queue.ns / 1000)
READER(read_input_us, sample->sums.compute_input.ns / 1000)
READER(read_infer_us, sample->sums.compute_infer.ns / 1000)
READER(read_output_us, sample->sums.compute_output.ns / 1000)
READER(read_pending, sample->pending)
READER(read_hits, sample->sums.cache_hit.count)
READER(read_misses, sample->sums.cache_miss.count)
READER(read_hit_us, sample->sums.cache_hit.ns / 1000)
READER(read_miss_us, sample->sums.cache_miss.ns / 1000)
READER(read_lookups, sample->sums.lookups)
READER(read_row_hits, sample->sums.hits)
READER(read_row_misses, sample->sums.misses)
READER(read_joined, sample->sums.joined)
READER(read_bypassed, sample->sums.bypassed)
READER(read_errors, sample->sums.errors)
READER(read_corrupt, sample->sums.corrupt)
READER(read_wrong_mac, sample->sums.wrong_mac)
READER(read_audited, atomic_load(&sample->model->rows.audited))
READER(read_different, atomic_load(&sample->model->rows.different))
READER(read_mismatched, atomic_load(&sample->model->rows.mismatched))
READER(read_stale, sample->sums.stale)
READER(read_refreshes, sample->sums.refreshes)
READER(read_too_large, sample->sums.too_large)
READER(read_leases_granted, sample->sums.leases.granted)
READER(read_leases_held, sample->sums.leases.held)
READER(read_leases_answered, sample->sums.leases.answered)
READER(read_leases_takeover, sample->sums.leases.takeover)
READER(read_leases_duplicate, sample->sums.leases.duplicate)

static const struct model_metric model_metrics[] = {
	{"nv_inference_request_success", "counter",
	 "Number of successful inference requests, all batch sizes, cache hits included", read_success, false},
	{"nv_inference_count", "counter", "Number of inferences performed (does not include cached requests)",
	 read_inferences, false},
	{"nv_inference_exec_count", "counter",
	 "Number of model executions performed (does not include cached requests)", read_executions, false},
	{"nv_inference_request_duration_us", "counter",
	 "Cumulative inference request duration in microseconds (includes cached requests)", read_request_us, false},
	{"nv_inference_queue_duration_us", "counter",
	 "Cumulative inference queuing duration in microseconds (includes cached requests)", read_queue_us, false},
	{"nv_inference_compute_input_duration_us", "counter",
	 "Cumulative compute input duration in microseconds (does not include cached requests)", read_input_us, false},
	{"nv_inference_compute_infer_duration_us", "counter",
	 "Cumulative compute inference duration in microseconds (does not include cached requests)", read_infer_us,
	 false},
	{"nv_inference_compute_output_duration_us", "counter",
	 "Cumulative compute output duration in microseconds (does not include cached requests)", read_output_us,
	 false},
	{"nv_inference_pending_request_count", "gauge", "Instantaneous number of pending requests awaiting execution",
	 read_pending, false},
	{"nv_cache_num_hits_per_model", "counter", "Number of cache hits per model", read_hits, true},
	{"nv_cache_num_misses_per_model", "counter", "Number of cache misses per model", read_misses, true},
	{"nv_cache_hit_duration_per_model", "counter", "Total cache hit duration per model, in microseconds",
	 read_hit_us, true},
	{"nv_cache_miss_duration_per_model", "counter",
	 "Total cache miss duration per model (look-up and insertion), in microseconds", read_miss_us, true},
	{"hippocamp_audits_total", "counter",
	 "Answers put together out of rows that were computed again by themselves and compared", read_audited, false},
	{"hippocamp_audit_differences_total", "counter",
	 "Audited answers that were not the same bit for bit, but within the tolerance", read_different, false},
	{"hippocamp_audit_mismatches_total", "counter",
	 "Audited answers that were wrong; from the first on the model's requests run by themselves", read_mismatched,
	 false},
	{"hippocamp_cache_lookups_total", "counter",
	 "Rows of requests to models with a cache; always the sum of hits, misses, joined, bypassed and errors",
	 read_lookups, true},
	{"hippocamp_cache_hits_total", "counter", "Rows that the cache had", read_row_hits, true},
	{"hippocamp_cache_misses_total", "counter", "Rows that the cache had not", read_row_misses, true},
	{"hippocamp_cache_joined_total", "counter", "Rows answered by an equal one that was under way", read_joined,
	 true},
	{"hippocamp_cache_bypassed_total", "counter", "Rows for which the cache was not to be asked", read_bypassed,
	 true},
	{"hippocamp_cache_errors_total", "counter", "Rows for which the cache could not be asked", read_errors, true},
	{"hippocamp_cache_corrupt_total", "counter", "Entries found damaged or foreign, counted as misses",
	 read_corrupt, true},
	{"hippocamp_cache_wrong_mac_total", "counter",
	 "Entries whose MAC is wrong: altered, or made without the secret; counted as corrupt, too", read_wrong_mac,
	 true},
	{"hippocamp_cache_stale_total", "counter", "Rows answered by an entry past its life, counted as hits",
	 read_stale, true},
	{"hippocamp_cache_refreshes_total", "counter", "Rows run in the background to renew an entry", read_refreshes,
	 true},
	{"hippocamp_cache_too_large_total", "counter", "Answers larger than max_value_size, not stored", read_too_large,
	 true},
	{"hippocamp_cache_lease_granted_total", "counter",
	 "Rows run under a lease, so that other servers wait for them", read_leases_granted, true},
	{"hippocamp_cache_lease_held_total", "counter", "Rows that waited for another server, which had the lease",
	 read_leases_held, true},
	{"hippocamp_cache_lease_answered_total", "counter", "Rows that waited and were answered by another server",
	 read_leases_answered, true},
	{"hippocamp_cache_lease_takeover_total", "counter",
	 "Rows that waited and were run under the lease, which the other server let go or lost", read_leases_takeover,
	 true},
	{"hippocamp_cache_lease_duplicate_total", "counter", "Rows that waited and were run without a lease",
	 read_leases_duplicate, true},
};

static const char *const failure_names[FAILURE_REASONS] = {"REJECTED", "CANCELED", "BACKEND", "OTHER"};

static void
write_labels(struct model_sample *sample)
{
	(void)snprintf(sample->version, sizeof(sample->version), "%" PRId64, sample->model->version);
	buf_init(&sample->labels, 4096);
	metric_label(&sample->labels, "model", sample->model->config.name);
	metric_label(&sample->labels, "version", bytes_text(sample->version));
}

static size_t
count_models(const struct model_table *table)
{
	size_t count = 0;

	for (size_t i = 0; i < table->count; i++) {
		count += table->entries[i].version_count;
	}
	return count;
}

static void
read_models(const struct model_table *table, struct model_sample *samples)
{
	size_t at = 0;

	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			struct model_sample *sample = &samples[at++];

			sample->model = table->entries[i].versions[k];
			sample->pending = model_pending(sample->model);
			statistics_sum(sample->model->statistics, &sample->sums);
			write_labels(sample);
		}
	}
}

static void
write_failures(struct buf *out, const struct model_sample *samples, size_t count)
{
	metric_family(out, "nv_inference_request_failure", "counter",
		      "Number of failed inference requests, all batch sizes");
	for (size_t i = 0; i < count; i++) {
		for (size_t reason = 0; reason < FAILURE_REASONS; reason++) {
			struct buf labels;

			buf_init(&labels, 4096);
			metric_label(&labels, "model", samples[i].model->config.name);
			metric_label(&labels, "reason", bytes_text(failure_names[reason]));
			metric_label(&labels, "version", bytes_text(samples[i].version));
			metric_sample(out, "nv_inference_request_failure", buf_bytes(&labels),
				      samples[i].sums.failures[reason]);
			buf_fini(&labels);
		}
	}
}

/* Of how many microseconds the buckets are that Prometheus gets: four times the one before. */
#define DURATION_BOUND_FIRST 16
#define DURATION_BOUNDS 11

static void
write_duration_sample(struct buf *out, const struct model_sample *sample, const char *suffix, const char *outcome,
		      const char *bound, double value)
{
	char name[96];
	struct buf labels;

	(void)snprintf(name, sizeof(name), "hippocamp_request_duration_seconds%s", suffix);
	buf_init(&labels, 4096);
	buf_append(&labels, buf_bytes(&sample->labels));
	metric_label(&labels, "outcome", bytes_text(outcome));
	if (bound != NULL) {
		metric_label(&labels, "le", bytes_text(bound));
	}
	metric_sample_double(out, name, buf_bytes(&labels), value);
	buf_fini(&labels);
}

static void
write_duration(struct buf *out, const struct model_sample *sample, const struct latency_counts *counts,
	       const char *outcome)
{
	uint64_t bound_us = DURATION_BOUND_FIRST;
	uint64_t count = 0;
	size_t bucket = 0;

	for (size_t i = 0; i < DURATION_BOUNDS; i++, bound_us *= 4) {
		char bound[24];

		while (bucket < LATENCY_BUCKETS && latency_bound_us(bucket) <= bound_us) {
			count += counts->buckets[bucket++];
		}
		(void)snprintf(bound, sizeof(bound), "%g", (double)bound_us / 1e6);
		write_duration_sample(out, sample, "_bucket", outcome, bound, (double)count);
	}
	while (bucket < LATENCY_BUCKETS) {
		count += counts->buckets[bucket++];
	}
	write_duration_sample(out, sample, "_bucket", outcome, "+Inf", (double)count);
	write_duration_sample(out, sample, "_sum", outcome, NULL, (double)counts->sum_us / 1e6);
	write_duration_sample(out, sample, "_count", outcome, NULL, (double)count);
}

static void
write_durations(struct buf *out, const struct model_sample *samples, size_t count)
{
	metric_family(out, "hippocamp_request_duration_seconds", "histogram",
		      "How long successful requests took, by whether the cache or the model has answered, in seconds");
	for (size_t i = 0; i < count; i++) {
		write_duration(out, &samples[i], &samples[i].sums.latencies[LATENCY_HIT], "hit");
		write_duration(out, &samples[i], &samples[i].sums.latencies[LATENCY_MODEL], "model");
	}
}

static void
write_models(struct exchange *exchange, const struct model_sample *samples, size_t count)
{
	struct buf *out = &exchange->text;

	for (size_t m = 0; m < sizeof(model_metrics) / sizeof(*model_metrics); m++) {
		const struct model_metric *metric = &model_metrics[m];

		if (metric->cached_only && exchange->options->cache == NULL) {
			continue;
		}
		metric_family(out, metric->name, metric->type, metric->help);
		for (size_t i = 0; i < count; i++) {
			if (!metric->cached_only || samples[i].model->config.response_cache) {
				metric_sample(out, metric->name, buf_bytes(&samples[i].labels),
					      metric->read(&samples[i]));
			}
		}
	}
	write_failures(out, samples, count);
	write_durations(out, samples, count);
}

/* Writes a cumulative histogram. */
static void
write_histogram(struct buf *out, const struct model_sample *sample, const char *name, const struct histogram *histogram,
		const uint64_t *bounds)
{
	uint64_t count = 0;
	char series[96];

	(void)snprintf(series, sizeof(series), "%s_bucket", name);
	for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		char bound[24] = "+Inf";
		struct buf labels;

		if (i < HISTOGRAM_BUCKETS) {
			(void)snprintf(bound, sizeof(bound), "%" PRIu64, bounds[i]);
		}
		count += histogram->buckets[i];
		buf_init(&labels, 4096);
		buf_append(&labels, buf_bytes(&sample->labels));
		metric_label(&labels, "le", bytes_text(bound));
		metric_sample(out, series, buf_bytes(&labels), count);
		buf_fini(&labels);
	}
	(void)snprintf(series, sizeof(series), "%s_sum", name);
	metric_sample(out, series, buf_bytes(&sample->labels), histogram->sum);
	(void)snprintf(series, sizeof(series), "%s_count", name);
	metric_sample(out, series, buf_bytes(&sample->labels), count);
}

static void
write_cached_models(struct buf *out, const struct model_sample *samples, size_t count)
{
	static const char saved[] = "hippocamp_cache_saved_seconds_total";
	static const char age[] = "hippocamp_cache_hit_age_seconds";
	static const char size[] = "hippocamp_cache_value_size_bytes";

	metric_family(out, saved, "counter", "Compute time that answers from the cache once cost, in seconds");
	for (size_t i = 0; i < count; i++) {
		if (samples[i].model->config.response_cache) {
			metric_sample_double(out, saved, buf_bytes(&samples[i].labels),
					     (double)samples[i].sums.saved_us / 1e6);
		}
	}
	metric_family(out, age, "histogram", "Age of the entries that answered, in seconds");
	for (size_t i = 0; i < count; i++) {
		if (samples[i].model->config.response_cache) {
			write_histogram(out, &samples[i], age, &samples[i].sums.hit_age, hit_age_bounds);
		}
	}
	metric_family(out, size, "histogram", "Size of the entries stored, in bytes");
	for (size_t i = 0; i < count; i++) {
		if (samples[i].model->config.response_cache) {
			write_histogram(out, &samples[i], size, &samples[i].sums.value_size, value_size_bounds);
		}
	}
}

static void
write_gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
	metric_family(out, name, "gauge", help);
	metric_sample(out, name, bytes_make(NULL, 0), value);
}

/* Writes the cache's metrics: those of Triton's local cache if the store's capacity is known, and our own. */
static void
write_cache(struct exchange *exchange, const struct model_sample *samples, size_t count)
{
	const struct response_cache *cache = exchange->options->cache;
	struct buf *out = &exchange->text;
	struct cache_statistics statistics;
	uint64_t lookup_us = 0;
	uint64_t insert_us = 0;

	write_cached_models(out, samples, count);
	cache->ops->statistics(cache->store, &statistics);
	for (size_t i = 0; i < count; i++) {
		lookup_us += samples[i].sums.cache_hit.ns / 1000;
		insert_us += samples[i].sums.cache_miss.ns / 1000;
	}
	if (statistics.capacity_bytes > 0) {
		metric_family(out, "nv_cache_util", "gauge", "Cache utilization [0.0 - 1.0]");
		metric_sample_double(out, "nv_cache_util", bytes_make(NULL, 0),
				     (double)statistics.used_bytes / (double)statistics.capacity_bytes);
		write_gauge(out, "nv_cache_num_entries", "Number of responses stored in cache", statistics.entries);
		write_gauge(out, "nv_cache_num_lookups", "Number of cache lookups in cache", statistics.lookups);
		write_gauge(out, "nv_cache_num_hits", "Number of cache hits in cache", statistics.hits);
		write_gauge(out, "nv_cache_num_misses", "Number of cache misses in cache",
			    statistics.lookups > statistics.hits ? statistics.lookups - statistics.hits : 0);
		write_gauge(out, "nv_cache_num_evictions", "Number of cache evictions in cache", statistics.evictions);
		write_gauge(out, "nv_cache_lookup_duration", "Total cache lookup duration of hits, in microseconds",
			    lookup_us);
		write_gauge(out, "nv_cache_insertion_duration",
			    "Total cache lookup and insertion duration of misses, in microseconds", insert_us);
	}
	if (!cache->ops->synchronous) {
		write_gauge(out, "hippocamp_cache_connections", "Open connections to the cache's server",
			    statistics.connections);
	}
	metric_family(out, "hippocamp_cache_inserts_total", "counter", "Entries stored");
	metric_sample(out, "hippocamp_cache_inserts_total", bytes_make(NULL, 0), statistics.inserts);
	metric_family(out, "hippocamp_cache_evictions_total", "counter", "Entries that made room for others");
	metric_sample(out, "hippocamp_cache_evictions_total", bytes_make(NULL, 0), statistics.evictions);
	metric_family(out, "hippocamp_cache_dropped_total", "counter",
		      "Entries not stored: too large, too many waiting, or the cache's server down or full");
	metric_sample(out, "hippocamp_cache_dropped_total", bytes_make(NULL, 0), statistics.dropped);
	metric_family(out, "hippocamp_cache_lookup_failures_total", "counter",
		      "Look-ups that could not be made or were not answered");
	metric_sample(out, "hippocamp_cache_lookup_failures_total", bytes_make(NULL, 0), statistics.failures);
	if (cache->ops->metrics != NULL) {
		struct metric_sink printer = metric_printer(out);

		cache->ops->metrics(cache->store, &printer);
	}
}

static void
write_upstream(struct exchange *exchange)
{
	const struct remote_ops *ops = exchange->options->remote_ops;
	struct metric_sink printer = metric_printer(&exchange->text);
	struct replica_set *sets[2];
	size_t count = 0;

	if (ops->metrics != NULL) {
		ops->metrics(exchange->options->remote_shared, &printer);
		return;
	}
	sets[count++] = upstream_replicas(exchange->options->upstream);
	pass_reason_metrics(exchange->lane->passes, &printer);
	if (exchange->options->grpc_upstream != NULL) {
		sets[count++] = grpc_upstream_replicas(exchange->options->grpc_upstream);
	}
	replica_metrics(sets, count, &printer);
}

static void
write_host(struct buf *out)
{
	unsigned long long total =
		(unsigned long long)sysconf(_SC_PHYS_PAGES) * (unsigned long long)sysconf(_SC_PAGESIZE);
	unsigned long long available =
		(unsigned long long)sysconf(_SC_AVPHYS_PAGES) * (unsigned long long)sysconf(_SC_PAGESIZE);

	write_gauge(out, "nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes", total);
	write_gauge(out, "nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes", total - available);
}

void
handle_metrics(struct exchange *exchange)
{
	const struct model_table *table = server_lane_table(exchange->lane);
	size_t count = count_models(table);
	struct model_sample *samples = arena_array(&exchange->arena, count, sizeof(*samples));

	if (samples == NULL) {
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the metrics");
		return;
	}
	read_models(table, samples);
	write_models(exchange, samples, count);
	if (exchange->options->cache != NULL) {
		write_cache(exchange, samples, count);
	}
	if (exchange->options->remote_ops != NULL) {
		write_upstream(exchange);
	}
	write_host(&exchange->text);
	for (size_t i = 0; i < count; i++) {
		buf_fini(&samples[i].labels);
	}
	reply_text(exchange, "text/plain; charset=utf-8");
}
