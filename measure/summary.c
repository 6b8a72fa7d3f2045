#include "measure/summary.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>

#define DELAYED_SHARE 0.01 /* of the requests, from which on a warning is due */

static const double percentiles[] = {50, 90, 95, 99};
#define PERCENTILES (sizeof(percentiles) / sizeof(*percentiles))

/* Ours, and the one that the user has asked for, in their order. */
static size_t
list_percentiles(const struct summary_style *style, double list[PERCENTILES + 1])
{
	bool is_missing = style->percentile > 0;
	size_t count = 0;

	for (size_t i = 0; i < PERCENTILES; i++) {
		if (is_missing && style->percentile <= percentiles[i]) {
			is_missing = false;
			if (style->percentile < percentiles[i]) {
				list[count++] = style->percentile;
			}
		}
		list[count++] = percentiles[i];
	}
	if (is_missing) {
		list[count++] = style->percentile;
	}
	return count;
}

static uint64_t
us(double ns)
{
	return (uint64_t)(ns / 1000);
}

/* What one of the server's durations took on average, in ns. */
static double
mean_of(const struct model_statistics *server, enum statistics_kind kind)
{
	const struct statistics_duration *duration = &server->durations[kind];

	return duration->count == 0 ? 0 : (double)duration->ns / (double)duration->count;
}

static double
compute_of(const struct model_statistics *server)
{
	return mean_of(server, STATISTICS_COMPUTE_INPUT) + mean_of(server, STATISTICS_COMPUTE_INFER) +
	       mean_of(server, STATISTICS_COMPUTE_OUTPUT);
}

/* Of a request with a cache: hits and misses together, as perf_analyzer computes it. */
static double
cached_of(const struct model_statistics *server)
{
	const struct statistics_duration *durations = server->durations;
	uint64_t ns = durations[STATISTICS_CACHE_HIT].ns + durations[STATISTICS_CACHE_MISS].ns +
		      durations[STATISTICS_COMPUTE_INPUT].ns + durations[STATISTICS_COMPUTE_INFER].ns +
		      durations[STATISTICS_COMPUTE_OUTPUT].ns;
	uint64_t count = durations[STATISTICS_COMPUTE_INPUT].count + durations[STATISTICS_CACHE_HIT].count;

	return count == 0 ? 0 : (double)ns / (double)count;
}

static double
above_zero(double value)
{
	return value > 0 ? value : 0;
}

/* --- The client --- */

static void
print_outcome(const char *name, const struct latencies *latency, uint64_t all, struct buf *out)
{
	if (latency->count > 0) {
		buf_format(out, "    %s: %" PRIu64 " (%.1f%%), p50 %" PRIu64 " usec, p99 %" PRIu64 " usec\n", name,
			   latency->count, (double)latency->count * 100 / (double)all,
			   us(latencies_percentile(latency, 50)), us(latencies_percentile(latency, 99)));
	}
}

static void
print_client(const struct measurement *measurement, const struct summary_style *style, struct buf *out)
{
	const struct load_window *window = &measurement->window;
	const struct latencies *latency = &window->latency;
	double list[PERCENTILES + 1];
	size_t count;

	buf_format(out, "  Client: \n    Request count: %" PRIu64 "\n", latency->count);
	if (window->failed > 0) {
		buf_format(out, "    Failed requests: %" PRIu64 ", the first: %s\n", window->failed, window->why);
	}
	if ((double)window->delayed > DELAYED_SHARE * (double)window->sent) {
		buf_format(out,
			   "    [WARNING] %.1f%% of the requests were sent more than 1 ms late: their latency counts "
			   "from the time at which they were due\n",
			   (double)window->delayed * 100 / (double)window->sent);
	}
	buf_format(out, "    Throughput: %.2f infer/sec\n", measurement_throughput(measurement, style->batch));
	buf_format(out, "    Avg latency: %" PRIu64 " usec (standard deviation %" PRIu64 " usec)\n",
		   us(latencies_mean(latency)), us(latencies_deviation(latency)));
	count = list_percentiles(style, list);
	for (size_t i = 0; i < count; i++) {
		buf_format(out, "    p%g latency: %" PRIu64 " usec\n", list[i],
			   us(latencies_percentile(latency, list[i])));
	}
	print_outcome("Cache hits", &window->hits, latency->count, out);
	print_outcome("Cache misses", &window->misses, latency->count, out);
}

/* --- The server --- */

static void
print_cached_times(const struct model_statistics *server, struct buf *out)
{
	double miss = mean_of(server, STATISTICS_CACHE_MISS);
	double success = mean_of(server, STATISTICS_SUCCESS);
	double queue = mean_of(server, STATISTICS_QUEUE);

	buf_format(out,
		   " (overhead %" PRIu64 " usec + queue %" PRIu64 " usec + cache hit/miss %" PRIu64 " usec)\n"
		   "      Average Cache Hit Latency: %" PRIu64 " usec\n"
		   "      Average Cache Miss Latency: %" PRIu64 " usec (cache lookup/insertion %" PRIu64
		   " usec + compute input %" PRIu64 " usec + compute infer %" PRIu64 " usec + compute output %" PRIu64
		   " usec)\n",
		   us(above_zero(success - queue - cached_of(server))), us(queue), us(cached_of(server)),
		   us(mean_of(server, STATISTICS_CACHE_HIT)), us(miss + compute_of(server)), us(miss),
		   us(mean_of(server, STATISTICS_COMPUTE_INPUT)), us(mean_of(server, STATISTICS_COMPUTE_INFER)),
		   us(mean_of(server, STATISTICS_COMPUTE_OUTPUT)));
}

static void
print_server(const struct model_statistics *server, const struct summary_style *style, struct buf *out)
{
	uint64_t count = server->durations[STATISTICS_SUCCESS].count;
	double queue = mean_of(server, STATISTICS_QUEUE);

	buf_text(out, "  Server: \n");
	if (count == 0) {
		buf_text(out, "    Request count: 0\n");
		return;
	}
	buf_format(out, "    Inference count: %" PRIu64 "\n    Execution count: %" PRIu64 "\n", server->inferences,
		   server->executions);
	if (style->is_cached) {
		buf_format(out, "    Cache hit count: %" PRIu64 "\n    Cache miss count: %" PRIu64 "\n",
			   server->durations[STATISTICS_CACHE_HIT].count,
			   server->durations[STATISTICS_CACHE_MISS].count);
	}
	buf_format(out, "    Successful request count: %" PRIu64 "\n    Avg request latency: %" PRIu64 " usec", count,
		   us(mean_of(server, STATISTICS_SUCCESS)));
	if (style->is_cached) {
		print_cached_times(server, out);
		return;
	}
	buf_format(out,
		   " (overhead %" PRIu64 " usec + queue %" PRIu64 " usec + compute input %" PRIu64
		   " usec + compute infer %" PRIu64 " usec + compute output %" PRIu64 " usec)\n",
		   us(above_zero(mean_of(server, STATISTICS_SUCCESS) - queue - compute_of(server))), us(queue),
		   us(mean_of(server, STATISTICS_COMPUTE_INPUT)), us(mean_of(server, STATISTICS_COMPUTE_INFER)),
		   us(mean_of(server, STATISTICS_COMPUTE_OUTPUT)));
}

/* --- Together --- */

static const char *
level_name(const struct measurement *measurement)
{
	return measurement->is_rate ? "Request Rate" : "Concurrency";
}

void
summary_print(const struct measurement *measurement, const struct summary_style *style, struct buf *out)
{
	buf_format(out, "%s: %g\n", measurement->is_rate ? "Request Rate" : "Request concurrency", measurement->level);
	if (measurement->window.latency.count == 0) { /* it was interrupted before that */
		buf_text(out, "  no request was answered\n");
		return;
	}
	print_client(measurement, style, out);
	if (style->has_statistics) {
		print_server(&measurement->server, style, out);
	}
	if (!measurement->is_stable && !measurement->is_interrupted) {
		buf_text(out, "  [WARNING] Throughput or latency did not become stable: give a longer "
			      "--measurement-interval, or more --max-trials\n");
	}
}

void
summary_print_list(const struct measurement *measurements, size_t count, const struct summary_style *style,
		   struct buf *out)
{
	buf_byte(out, '\n');
	if (style->percentile > 0) {
		buf_format(out, "Inferences/Second vs. Client p%g Batch Latency\n", style->percentile);
	} else {
		buf_text(out, "Inferences/Second vs. Client Average Batch Latency\n");
	}
	for (size_t i = 0; i < count; i++) {
		buf_format(out, "%s: %g, throughput: %.2f infer/sec, latency %" PRIu64 " usec\n",
			   level_name(&measurements[i]), measurements[i].level,
			   measurement_throughput(&measurements[i], style->batch),
			   us(window_latency(&measurements[i].window, style->percentile)));
	}
}

/* --- CSV --- */

static void
csv_head(const struct measurement *first, const struct summary_style *style, struct buf *out)
{
	double list[PERCENTILES + 1];
	size_t count = list_percentiles(style, list);

	buf_format(out, "%s,Inferences/Second,Client Send,", level_name(first));
	if (style->has_statistics) {
		buf_text(out, "Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,"
			      "Server Compute Output,");
		if (style->is_cached) {
			buf_text(out, "Server Cache Hit,Server Cache Miss,");
		}
	}
	buf_text(out, "Client Recv");
	for (size_t i = 0; i < count; i++) {
		buf_format(out, ",p%g latency", list[i]);
	}
	buf_byte(out, '\n');
}

static void
csv_server(const struct measurement *measurement, const struct summary_style *style, struct buf *out)
{
	const struct model_statistics *server = &measurement->server;
	double accounted = mean_of(server, STATISTICS_QUEUE) + compute_of(server) +
			   mean_of(server, STATISTICS_CACHE_HIT) + mean_of(server, STATISTICS_CACHE_MISS);

	buf_format(out, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",",
		   us(above_zero(latencies_mean(&measurement->window.latency) - accounted)),
		   us(mean_of(server, STATISTICS_QUEUE)), us(mean_of(server, STATISTICS_COMPUTE_INPUT)),
		   us(mean_of(server, STATISTICS_COMPUTE_INFER)), us(mean_of(server, STATISTICS_COMPUTE_OUTPUT)));
	if (style->is_cached) {
		buf_format(out, "%" PRIu64 ",%" PRIu64 ",", us(mean_of(server, STATISTICS_CACHE_HIT)),
			   us(mean_of(server, STATISTICS_CACHE_MISS)));
	}
}

static void
csv_line(const struct measurement *measurement, const struct summary_style *style, struct buf *out)
{
	double list[PERCENTILES + 1];
	size_t count = list_percentiles(style, list);

	/* Sending and receiving do not wait for the server here: they are part of the network's column. */
	buf_format(out, "%g,%.2f,0,", measurement->level, measurement_throughput(measurement, style->batch));
	if (style->has_statistics) {
		csv_server(measurement, style, out);
	}
	buf_byte(out, '0');
	for (size_t i = 0; i < count; i++) {
		buf_format(out, ",%" PRIu64, us(window_latency(&measurement->window, list[i])));
	}
	buf_byte(out, '\n');
}

/* By throughput, as perf_analyzer sorts them. */
static int
compare(const void *a, const void *b)
{
	const struct measurement *const *one = a;
	const struct measurement *const *two = b;
	double left = measurement_throughput(*one, 1);
	double right = measurement_throughput(*two, 1);

	return (left > right) - (left < right);
}

void
summary_csv(const struct measurement *measurements, size_t count, const struct summary_style *style, struct buf *out)
{
	const struct measurement **sorted = memory_array(count + 1, sizeof(*sorted));

	for (size_t i = 0; i < count; i++) {
		sorted[i] = &measurements[i];
	}
	qsort(sorted, count, sizeof(*sorted), compare);
	for (size_t i = 0; i < count; i++) {
		if (i == 0) {
			csv_head(sorted[0], style, out);
		}
		csv_line(sorted[i], style, out);
	}
	free(sorted);
}
