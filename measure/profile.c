#include "measure/profile.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ENDLESS_NS (UINT64_C(1) << 60)
#define TICK_MS 1000

double
window_latency(const struct load_window *window, double percent)
{
	return percent > 0 ? latencies_percentile(&window->latency, percent) : latencies_mean(&window->latency);
}

static double
throughput_of(const struct load_window *window)
{
	return (double)window->latency.count * 1e9 / (double)(window->ended_ns - window->begun_ns);
}

double
measurement_throughput(const struct measurement *measurement, size_t batch)
{
	return measurement->ns == 0 ? 0
				    : (double)measurement->window.latency.count * 1e9 / (double)measurement->ns *
					      (double)(batch == 0 ? 1 : batch);
}

/* Are all within the share of their mean? */
static bool
are_near(const double *values, size_t count, double share)
{
	double mean = 0;
	bool near = true;

	for (size_t i = 0; i < count; i++) {
		mean += values[i] / (double)count;
	}
	for (size_t i = 0; i < count; i++) {
		near = near && fabs(values[i] - mean) <= share * mean;
	}
	return near && mean > 0;
}

bool
profile_is_stable(const struct load_window *windows, size_t count, const struct profile_options *options)
{
	double throughputs[PROFILE_WINDOWS];
	double latencies[PROFILE_WINDOWS];

	if (count < PROFILE_WINDOWS) {
		return false;
	}
	for (size_t i = 0; i < PROFILE_WINDOWS; i++) {
		throughputs[i] = throughput_of(&windows[i]);
		latencies[i] = window_latency(&windows[i], options->percentile);
	}
	return are_near(throughputs, PROFILE_WINDOWS, options->stability) &&
	       are_near(latencies, PROFILE_WINDOWS, options->stability);
}

static void
add_window(struct load_window *sum, const struct load_window *window)
{
	sum->sent += window->sent;
	sum->failed += window->failed;
	sum->delayed += window->delayed;
	sum->received += window->received;
	if (window->why[0] != '\0' && sum->why[0] == '\0') {
		(void)snprintf(sum->why, sizeof(sum->why), "%s", window->why);
	}
	latencies_merge(&sum->latency, &window->latency);
	latencies_merge(&sum->hits, &window->hits);
	latencies_merge(&sum->misses, &window->misses);
}

/* Windows and what the server had counted before each of them and after the last: the oldest first. */
struct recent {
	struct load_window windows[PROFILE_WINDOWS];
	struct model_statistics counted[PROFILE_WINDOWS + 1];
	size_t count;
};

/* The window for the next trial, behind those that are kept. */
static struct load_window *
next_window(struct recent *recent)
{
	if (recent->count == PROFILE_WINDOWS) {
		memmove(recent->windows, recent->windows + 1, (PROFILE_WINDOWS - 1) * sizeof(*recent->windows));
		memmove(recent->counted, recent->counted + 1, PROFILE_WINDOWS * sizeof(*recent->counted));
		recent->count--;
	}
	return &recent->windows[recent->count];
}

/* Tells of the present window. */
struct ticker {
	const struct profile_options *options;
	struct loop_timer *timer;
	unsigned number;
	const struct load_window *window;
};

static void
on_tick(void *argument)
{
	struct ticker *ticker = argument;

	ticker->options->progress(ticker->options->context, ticker->number, ticker->window);
	loop_timer_set(ticker->timer, TICK_MS);
}

static enum status
run_window(struct load *load, struct ticker *ticker, const bool *stopped, struct load_window *window,
	   struct error *error)
{
	const struct profile_options *options = ticker->options;
	enum status status;

	ticker->number++;
	ticker->window = window;
	if (options->progress != NULL) {
		loop_timer_set(ticker->timer, TICK_MS);
	}
	status = load_run(load, options->requests > 0 ? ENDLESS_NS : options->interval_ns, stopped, window, error);
	loop_timer_stop(ticker->timer);
	return status;
}

static enum status
run_windows(struct target *target, struct load *load, struct ticker *ticker, const bool *stopped, struct recent *recent,
	    bool *is_stable, struct error *error)
{
	const struct profile_options *options = ticker->options;
	enum status status = target_statistics(target, &recent->counted[0], error);
	unsigned trials = options->requests > 0 ? 1 : options->trials;

	*is_stable = false;
	for (unsigned trial = 0; status == STATUS_OK && trial < trials && !*is_stable && !*stopped; trial++) {
		struct load_window *window = next_window(recent);

		status = run_window(load, ticker, stopped, window, error);
		recent->count++;
		if (status == STATUS_OK && window->latency.count == 0 && window->failed > 0) {
			status = error_set(error, STATUS_UNAVAILABLE, "%s", window->why);
		}
		if (status == STATUS_OK) {
			status = target_statistics(target, &recent->counted[recent->count], error);
		}
		*is_stable = options->requests > 0 || profile_is_stable(recent->windows, recent->count, options);
	}
	return status;
}

enum status
profile_run(struct target *target, const struct request_form *form, const struct load_options *load_options,
	    const struct profile_options *options, const bool *stopped, struct measurement *measurement,
	    struct error *error)
{
	struct load *load = load_new(target->loop, target->client, form, load_options, error);
	struct recent *recent = memory_new(sizeof(*recent));
	struct ticker ticker = {.options = options};
	enum status status = load == NULL ? error->status : STATUS_OK;
	bool is_stable = false;

	ticker.timer = loop_timer_new(target->loop, on_tick, &ticker);
	if (status == STATUS_OK) {
		status = run_windows(target, load, &ticker, stopped, recent, &is_stable, error);
	}
	loop_timer_free(ticker.timer);
	load_free(load);
	*measurement = (struct measurement){.level = load_options->concurrency > 0 ? load_options->concurrency
										   : load_options->rate,
					    .is_rate = load_options->concurrency == 0,
					    .is_stable = is_stable,
					    .is_interrupted = *stopped};
	for (size_t i = 0; i < recent->count; i++) {
		measurement->ns += recent->windows[i].ended_ns - recent->windows[i].begun_ns;
		add_window(&measurement->window, &recent->windows[i]);
	}
	measurement->server = model_statistics_between(&recent->counted[0], &recent->counted[recent->count]);
	free(recent);
	return status;
}
