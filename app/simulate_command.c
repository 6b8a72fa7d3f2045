#include "app/simulate_command.h"

#include "app/arguments.h"
#include "base/file.h"
#include "base/memory.h"
#include "measure/chart.h"
#include "simulation/simulation.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX ((size_t)16 << 20)
#define SIZES 8
#define SIZE_LEAST ((uint64_t)64 * 1024)
#define LOOKUPS_AT_ONCE 4e6 /* so many are simulated; of more, a share */
#define ENOUGH 0.95	    /* of what an endless cache saves */
#define STORES 2

enum { OPTION_SAMPLE = 256, OPTION_CHART };

static const struct argument_option options[] = {
	{"sample", OPTION_SAMPLE, "SHARE",
	 "simulate this share of all questions (all, or as many as have 4 million look-ups)"},
	{"chart", OPTION_CHART, "FILE", "draw the hit ratios by size (SVG)"},
	{"help", 'h', NULL, "this text"},
};
static const struct argument_table table = {
	.options = options, .count = sizeof(options) / sizeof(*options), .takes_words = true};

struct simulate_settings {
	bool wants_help;
	double share; /* 0: choose */
	const char *chart;
	const char **files;
	size_t file_count;
};

/* What one size gives, by store. */
struct outcome {
	uint64_t size;
	struct simulation_result stores[STORES];
};

static enum status
take(void *context, int code, const char *value, struct error *error)
{
	struct simulate_settings *settings = context;
	char *end;

	switch (code) {
	case 'h':
		settings->wants_help = true;
		return STATUS_OK;
	case OPTION_CHART:
		settings->chart = value;
		return STATUS_OK;
	case OPTION_SAMPLE:
		settings->share = strtod(value, &end);
		if (*value == '\0' || *end != '\0' || !(settings->share > 0 && settings->share <= 1)) {
			return error_set(error, STATUS_INVALID_ARGUMENT, "--sample %s: give a share above 0, 1 at most",
					 value);
		}
		return STATUS_OK;
	default:
		settings->files =
			memory_grow((void *)settings->files, settings->file_count + 1, sizeof(*settings->files));
		settings->files[settings->file_count++] = value;
		return STATUS_OK;
	}
}

/* --- Texts --- */

static const char *
size_text(uint64_t bytes, char text[32])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(text, 32, "%.4g %s", value, units[unit]);
	return text;
}

/* At the axis's ticks, which are powers of ten. */
static void
write_size(struct buf *out, double value)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	size_t unit = 0;

	while (value >= 999.5 && unit < 4) {
		value /= 1000;
		unit++;
	}
	buf_format(out, "%.4g %s", value, units[unit]);
}

static void
write_share(struct buf *out, double value)
{
	buf_format(out, "%.0f %%", value * 100);
}

/* --- Sizes --- */

static bool
run_sizes(const struct trace *trace, const struct simulated_footprint footprints[STORES], double share,
	  struct outcome outcomes[SIZES])
{
	uint64_t most = footprints[SIMULATED_LOCAL].bytes;
	uint64_t shared = footprints[SIMULATED_REDIS].bytes;
	uint64_t size = SIZE_LEAST;
	bool good = true;

	most = most > shared ? most : shared;
	while (size < most) {
		size *= 2;
	}
	for (size_t i = SIZES; i > 0 && good; i--, size = size / 2 > SIZE_LEAST / 64 ? size / 2 : size) {
		outcomes[i - 1].size = size;
		for (enum simulated_store store = 0; store < STORES && good; store++) {
			const struct simulation_options simulation = {.store = store, .size = size, .share = share};

			good = simulate(trace, &simulation, &outcomes[i - 1].stores[store]);
		}
	}
	return good;
}

static void
print_sizes(const struct outcome outcomes[SIZES])
{
	(void)printf("\n%-12s  %-30s  %s\n%-12s  %8s %15s  %14s %15s\n", "", "local, for each server",
		     "Redis, shared by all (LRU)", "size", "hits", "compute saved", "hits", "compute saved");
	for (size_t i = 0; i < SIZES; i++) {
		const struct simulation_result *local = &outcomes[i].stores[SIMULATED_LOCAL];
		const struct simulation_result *redis = &outcomes[i].stores[SIMULATED_REDIS];
		char size[32];

		(void)printf("%-12s  %6.1f %% %13.1f %%  %12.1f %% %13.1f %%\n", size_text(outcomes[i].size, size),
			     local->hit_ratio * 100, local->saved_share * 100, redis->hit_ratio * 100,
			     redis->saved_share * 100);
	}
}

/* The smallest size that saves nearly what the greatest does. */
static size_t
enough_of(const struct outcome outcomes[SIZES], enum simulated_store store)
{
	double most = outcomes[SIZES - 1].stores[store].saved_share;
	size_t index = 0;

	while (index < SIZES - 1 && outcomes[index].stores[store].saved_share < ENOUGH * most) {
		index++;
	}
	return index;
}

static bool
print_ttls(const struct trace *trace, double share, uint64_t size)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} ttls[] = {{"none", 0},	{"1 d", 86400000}, {"1 h", 3600000},
		    {"10 min", 600000}, {"1 min", 60000},  {"10 s", 10000}};
	char text[32];

	(void)printf("\n%-12s  hits and compute saved by a local cache of %s\n", "TTL", size_text(size, text));
	for (size_t i = 0; i < sizeof(ttls) / sizeof(*ttls); i++) {
		const struct simulation_options simulation = {
			.store = SIMULATED_LOCAL, .size = size, .ttl_ms = ttls[i].ms, .share = share};
		struct simulation_result result;

		if (!simulate(trace, &simulation, &result)) {
			return false;
		}
		(void)printf("%-12s  %6.1f %% %13.1f %%\n", ttls[i].name, result.hit_ratio * 100,
			     result.saved_share * 100);
	}
	return true;
}

static void
print_advice(const struct trace *trace, const struct outcome outcomes[SIZES])
{
	const struct outcome *local = &outcomes[enough_of(outcomes, SIMULATED_LOCAL)];
	const struct outcome *redis = &outcomes[enough_of(outcomes, SIMULATED_REDIS)];
	char size[32];

	(void)printf("\nA local cache of %s would have saved %.1f %% of the compute time", size_text(local->size, size),
		     local->stores[SIMULATED_LOCAL].saved_share * 100);
	if (trace->servers > 1) {
		(void)printf("; a Redis of %s that the %zu servers share, %.1f %%", size_text(redis->size, size),
			     trace->servers, redis->stores[SIMULATED_REDIS].saved_share * 100);
	}
	(void)printf(". More memory saves hardly more.\n");
}

/* --- Chart --- */

static enum status
write_chart(const struct outcome outcomes[SIZES], const char *path, struct error *error)
{
	static const char *const names[] = {"", "local, for each server", "Redis, shared by all"};
	double ys[3 * SIZES] = {0};
	double xs[SIZES];
	struct buf svg;
	bool good;

	for (size_t i = 0; i < SIZES; i++) {
		xs[i] = (double)outcomes[i].size;
		ys[i] = NAN; /* the first series only takes up a colour */
		ys[SIZES + i] = outcomes[i].stores[SIMULATED_LOCAL].hit_ratio;
		ys[2 * SIZES + i] = outcomes[i].stores[SIMULATED_REDIS].hit_ratio;
	}
	buf_init(&svg, TEXT_MAX);
	chart_lines(&(struct line_chart){.title = "Hit ratio by the size of the cache",
					 .x_name = "size",
					 .y_name = "hits",
					 .write_x = write_size,
					 .write_y = write_share,
					 .is_share = true,
					 .series = names,
					 .series_count = 3,
					 .xs = xs,
					 .x_count = SIZES,
					 .ys = ys},
		    &svg);
	good = buf_ok(&svg) && file_write(path, buf_bytes(&svg), false);
	buf_fini(&svg);
	return good ? STATUS_OK : error_set(error, STATUS_UNAVAILABLE, "--chart %s: %s", path, strerror(errno));
}

/* --- The command --- */

static enum status
read_files(const struct simulate_settings *settings, struct trace *trace, struct error *error)
{
	if (settings->file_count == 0) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"no file is given: one that hippocamp serve --record=FILE has written, for each server");
	}
	for (size_t i = 0; i < settings->file_count; i++) {
		if (trace_read(trace, settings->files[i], error) != STATUS_OK) {
			return error->status;
		}
	}
	trace_sort(trace);
	return STATUS_OK;
}

static double
print_trace(const struct trace *trace, const struct simulated_footprint footprints[STORES], double share)
{
	double cost_s = 0;
	size_t keys = footprints[SIMULATED_REDIS].keys;
	double seconds = (double)(trace->lookups[trace->count - 1].time_ms - trace->lookups[0].time_ms) / 1000;

	for (size_t i = 0; i < trace->count; i++) {
		cost_s += (double)trace->lookups[i].cost_us / 1e6;
	}
	if (share == 0) {
		share = (double)trace->count > LOOKUPS_AT_ONCE ? LOOKUPS_AT_ONCE / (double)trace->count : 1;
	}
	(void)printf("%zu server%s, %.0f s: %.0f look-ups of %zu questions, which cost %.3g s of compute each time\n",
		     trace->servers, trace->servers == 1 ? "" : "s", seconds, (double)trace->count / trace->share, keys,
		     cost_s / trace->share);
	if (trace->share < 1) {
		(void)printf("estimated from %zu recorded look-ups, of %.3g %% of the questions\n", trace->count,
			     trace->share * 100);
	}
	if (trace->skipped > 0) {
		(void)printf("%zu lines could not be read and are left out\n", trace->skipped);
	}
	if (trace->servers > 1 && keys == footprints[SIMULATED_LOCAL].keys) {
		(void)printf("no question came to two servers: keys are the same only in servers with the same "
			     "key_secret, or "
			     "that share a Redis\n");
	}
	if (share < 1) {
		(void)printf("simulated with %.2g %% of the questions\n", share * 100);
	}
	return share;
}

static enum status
run(const struct simulate_settings *settings, struct error *error)
{
	struct simulated_footprint footprints[STORES];
	struct outcome outcomes[SIZES];
	struct trace trace = {0};
	enum status status = read_files(settings, &trace, error);
	double share;

	if (status == STATUS_OK) {
		for (enum simulated_store store = 0; store < STORES; store++) {
			footprints[store] = simulated_footprint(&trace, store);
		}
		share = print_trace(&trace, footprints, settings->share);
		if (run_sizes(&trace, footprints, share, outcomes)) {
			print_sizes(outcomes);
			print_advice(&trace, outcomes);
			(void)print_ttls(&trace, share, outcomes[enough_of(outcomes, SIMULATED_LOCAL)].size);
		} else {
			status = error_set(error, STATUS_UNAVAILABLE,
					   "no memory for the simulation: give a smaller --sample");
		}
	}
	if (status == STATUS_OK && settings->chart != NULL) {
		status = write_chart(outcomes, settings->chart, error);
	}
	trace_fini(&trace);
	return status;
}

static int
print_help(void)
{
	struct buf text;

	buf_init(&text, TEXT_MAX);
	buf_text(
		&text,
		"usage: hippocamp simulate [OPTION]... FILE...\n\nTells what caches of several sizes, in each server "
		"or "
		"shared by all, would have made of\nlook-ups that hippocamp serve --record=FILE has recorded: one FILE "
		"for each server.\n\n");
	arguments_help(table, &text);
	(void)fwrite(text.at, 1, text.length, stdout);
	buf_fini(&text);
	return 0;
}

int
simulate_command(int count, char **arguments)
{
	struct simulate_settings settings = {0};
	struct error error;
	int code = 0;

	if (arguments_read(table, count, arguments, take, &settings, &error) != STATUS_OK ||
	    (!settings.wants_help && run(&settings, &error) != STATUS_OK)) {
		(void)fprintf(stderr, "hippocamp simulate: %s\n", error.text);
		code = 1;
	} else if (settings.wants_help) {
		code = print_help();
	}
	if (code == 0 && (fflush(stdout) != 0 || ferror(stdout) != 0)) {
		(void)fputs("hippocamp simulate: the output cannot be written\n", stderr);
		code = 1;
	}
	free((void *)settings.files);
	return code;
}
