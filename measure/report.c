#include "measure/report.h"

#include "base/memory.h"
#include "measure/chart.h"
#include "measure/page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX ((size_t)16 << 20)
#define TIME_SIZE 32
#define MILLISECONDS_FROM_NS 1e7 /* in a chart */

const char *
report_chart_name(enum report_chart chart)
{
	static const char *const names[REPORT_CHARTS] = {
		[REPORT_THROUGHPUT] = "throughput", [REPORT_LATENCY] = "latency", [REPORT_BREAK_EVEN] = "break_even"};

	return names[chart];
}

/* "85.3 µs", "1.27 ms" */
static const char *
time_text(double ns, char text[TIME_SIZE])
{
	static const char *const units[] = {"µs", "ms", "s"};
	double value = ns / 1000;
	size_t unit = 0;

	while (value >= 1000 && unit < 2) {
		value /= 1000;
		unit++;
	}
	(void)snprintf(text, TIME_SIZE,
		       value < 10    ? "%.2f %s"
		       : value < 100 ? "%.1f %s"
				     : "%.0f %s",
		       value, units[unit]);
	return text;
}

static const char *
size_text(double bytes, char text[TIME_SIZE])
{
	static const char *const units[] = {"bytes", "KB", "MB", "GB"};
	size_t unit = 0;

	while (bytes >= 1000 && unit < 3) {
		bytes /= 1000;
		unit++;
	}
	(void)snprintf(text, TIME_SIZE, unit == 0 || bytes >= 100 ? "%.0f %s" : "%.3g %s", bytes, units[unit]);
	return text;
}

static const struct cell *
cell_of(const struct comparison *comparison, enum variant_kind kind, enum workload workload, size_t level)
{
	return &comparison->cells[kind][workload][level];
}

/* --- Recommendation --- */

enum verdict { VERDICT_FASTER, VERDICT_SLOWER, VERDICT_UNCLEAR, VERDICT_NOT_MEASURED };

/* Of a cache's hits beside the model: only what the rounds agree on counts. */
static enum verdict
verdict_on(const struct comparison *comparison, enum variant_kind kind)
{
	struct estimate ratio =
		estimate_ratio(cell_of(comparison, kind, WORKLOAD_REPEATED, 0)->means,
			       cell_of(comparison, VARIANT_NONE, WORKLOAD_REPEATED, 0)->means, comparison->rounds);

	if (!comparison->has[kind]) {
		return VERDICT_NOT_MEASURED;
	}
	if (ratio.high < 1) {
		return VERDICT_FASTER;
	}
	return ratio.low > 1 ? VERDICT_SLOWER : VERDICT_UNCLEAR;
}

static void
say_faster(const struct comparison *comparison, enum variant_kind kind, struct buf *out)
{
	double hit = comparison_latency(comparison, kind, WORKLOAD_REPEATED);
	double none = comparison_latency(comparison, VARIANT_NONE, WORKLOAD_REPEATED);
	struct estimate ratio = comparison_break_even(comparison, kind);
	char first[TIME_SIZE];
	char second[TIME_SIZE];

	buf_format(out, "A hit takes %s instead of %s (%.3g times as fast)", time_text(hit, first),
		   time_text(none, second), none / hit);
	if (comparison->new_is_known) {
		buf_text(out, "; what a miss costs cannot be told, since there were too few inputs.");
	} else if (ratio.high < 0.0005) {
		buf_text(out, ", and requests are faster on average at any hit ratio.");
	} else if (ratio.low < 0.0005) {
		buf_format(out, ", and requests are faster on average from a hit ratio of %.1f %% on at the latest.",
			   ratio.high * 100);
	} else {
		buf_format(out, ", and requests are faster on average from a hit ratio of %.1f %% on.",
			   ratio.median * 100);
	}
}

static void
say_not_faster(const struct comparison *comparison, enum variant_kind kind, struct buf *out)
{
	char first[TIME_SIZE];
	char second[TIME_SIZE];

	buf_format(out, "A hit takes %s, and the model answers in ",
		   time_text(comparison_latency(comparison, kind, WORKLOAD_REPEATED), first));
	buf_format(out, "%s", time_text(comparison_latency(comparison, VARIANT_NONE, WORKLOAD_REPEATED), second));
	buf_text(out, verdict_on(comparison, kind) == VERDICT_UNCLEAR
			      ? ": the difference is smaller than the noise of this measurement."
			      : ".");
}

static void
say_local(const struct comparison *comparison, struct buf *out)
{
	switch (verdict_on(comparison, VARIANT_LOCAL)) {
	case VERDICT_FASTER:
		buf_text(out, "Use the local cache. ");
		say_faster(comparison, VARIANT_LOCAL, out);
		break;
	case VERDICT_NOT_MEASURED:
		buf_text(out, "The local cache was not measured.");
		break;
	default:
		buf_text(out, "The local cache does not pay for this model. ");
		say_not_faster(comparison, VARIANT_LOCAL, out);
		break;
	}
}

static void
say_redis(const struct comparison *comparison, struct buf *out)
{
	switch (verdict_on(comparison, VARIANT_REDIS)) {
	case VERDICT_FASTER:
		buf_text(out, " Use Redis, or tiered, which has a local cache in front of it, where several servers "
			      "should share "
			      "the answers or where these should survive a restart. ");
		say_faster(comparison, VARIANT_REDIS, out);
		break;
	case VERDICT_NOT_MEASURED:
		buf_text(out, " Redis was not measured.");
		break;
	default:
		buf_text(out, " Redis does not pay for this model. ");
		say_not_faster(comparison, VARIANT_REDIS, out);
		break;
	}
}

void
report_recommendation(const struct comparison *comparison, struct buf *out)
{
	if (comparison->different > 0) {
		buf_format(out,
			   "Use no cache before this is understood: of %zu inputs, %zu were answered in different "
			   "bytes by the "
			   "servers or from one time to the next. Either the model does not give the same answer to "
			   "the same "
			   "question, or a cache is wrong. ",
			   comparison->checked, comparison->different);
	}
	say_local(comparison, out);
	say_redis(comparison, out);
}

/* --- Charts --- */

/* The variants that were measured. */
static size_t
list_variants(const struct comparison *comparison, enum variant_kind kinds[VARIANTS], const char *names[VARIANTS])
{
	size_t count = 0;

	for (enum variant_kind kind = 0; kind < VARIANTS; kind++) {
		if (comparison->has[kind]) {
			names[count] = variant_name(kind);
			kinds[count++] = kind;
		}
	}
	return count;
}

static void
chart_workloads(const struct comparison *comparison, enum report_chart chart, struct buf *svg)
{
	const bool is_latency = chart == REPORT_LATENCY;
	const size_t level = is_latency ? 0 : comparison->options.level_count - 1;
	double values[WORKLOADS * VARIANTS];
	double lows[WORKLOADS * VARIANTS];
	double highs[WORKLOADS * VARIANTS];
	const char *groups[WORKLOADS];
	enum variant_kind kinds[VARIANTS];
	const char *names[VARIANTS];
	size_t count = list_variants(comparison, kinds, names);
	char title[256];
	double greatest_ns = 0;
	double unit = 1;

	for (enum workload workload = 0; workload < WORKLOADS && is_latency; workload++) {
		for (size_t i = 0; i < count; i++) {
			const struct cell *cell = cell_of(comparison, kinds[i], workload, level);

			greatest_ns = fmax(greatest_ns, estimate_of(cell->medians, comparison->rounds).median);
		}
	}
	if (is_latency) {
		unit = greatest_ns < MILLISECONDS_FROM_NS ? 1e3 : 1e6;
	}
	for (enum workload workload = 0; workload < WORKLOADS; workload++) {
		groups[workload] = workload_name(comparison, workload);
		for (size_t i = 0; i < count; i++) {
			const struct cell *cell = cell_of(comparison, kinds[i], workload, level);
			struct estimate estimate =
				estimate_of(is_latency ? cell->medians : cell->throughputs, comparison->rounds);

			values[workload * count + i] = estimate.median / unit;
			lows[workload * count + i] = estimate.low / unit;
			highs[workload * count + i] = estimate.high / unit;
		}
	}
	(void)snprintf(title, sizeof(title), "%s: %s, %u at a time", comparison->options.variants.model,
		       is_latency ? "median latency" : "inferences a second", comparison->options.levels[level]);
	chart_bars(&(struct bar_chart){.title = title,
				       .unit = !is_latency   ? "/s"
					       : unit == 1e6 ? "ms"
							     : "µs",
				       .groups = groups,
				       .group_count = WORKLOADS,
				       .series = names,
				       .series_count = count,
				       .values = values,
				       .lows = lows,
				       .highs = highs},
		   svg);
}

static void
write_size(struct buf *out, double value)
{
	char text[TIME_SIZE];

	buf_text(out, size_text(value, text));
}

static void
write_time(struct buf *out, double value)
{
	static const struct {
		double ns;
		const char *text;
	} units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}, {1, "ns"}};

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (value >= units[i].ns * 0.999) {
			buf_format(out, "%g %s", value / units[i].ns, units[i].text);
			return;
		}
	}
}

static void
chart_break_even(const struct comparison *comparison, struct buf *svg)
{
	static const enum variant_kind kinds[] = {VARIANT_LOCAL, VARIANT_REDIS};
	const char *const series[] = {"", "a hit in the local cache", "a hit in Redis"};
	double sizes[PROBE_SIZES];
	double times[3 * PROBE_SIZES] = {0}; /* the first series has no line: its colour is that of no cache */
	char point[256];

	for (size_t i = 0; i < PROBE_SIZES; i++) {
		sizes[i] = (double)comparison->probe_sizes[i];
		for (size_t k = 0; k < 2; k++) {
			times[(k + 1) * PROBE_SIZES + i] =
				estimate_of(comparison->probes[kinds[k]][i],
					    comparison->has[kinds[k]] ? comparison->rounds : 0)
					.median;
		}
	}
	(void)snprintf(point, sizeof(point), "%s without a cache", comparison->options.variants.model);
	chart_lines(&(struct line_chart){.title = "What lies above a line is faster from that cache",
					 .x_name = "size of the answer",
					 .y_name = "time of one request",
					 .write_x = write_size,
					 .write_y = write_time,
					 .series = series,
					 .series_count = 3,
					 .xs = sizes,
					 .x_count = PROBE_SIZES,
					 .ys = times,
					 .point = point,
					 .point_x = comparison->answer_bytes,
					 .point_y = comparison_latency(comparison, VARIANT_NONE, WORKLOAD_NEW)},
		    svg);
}

void
report_chart(const struct comparison *comparison, enum report_chart chart, struct buf *svg)
{
	if (chart == REPORT_BREAK_EVEN) {
		chart_break_even(comparison, svg);
	} else {
		chart_workloads(comparison, chart, svg);
	}
}

static void
add_chart(const struct comparison *comparison, enum report_chart chart, struct page *page)
{
	char file[256];
	struct buf svg;

	buf_init(&svg, TEXT_MAX);
	report_chart(comparison, chart, &svg);
	(void)snprintf(file, sizeof(file), "%s_%s.svg", comparison->options.variants.model, report_chart_name(chart));
	page_chart(page, file, report_chart_name(chart), &svg);
	buf_fini(&svg);
}

/* --- Tables --- */

static void
add_interval(struct page *page, struct estimate estimate, double unit)
{
	page_cell(page, "%.0f (%.0f to %.0f)", estimate.median / unit, estimate.low / unit, estimate.high / unit);
}

static void
add_figures(const struct comparison *comparison, enum workload workload, size_t level, struct page *page)
{
	const struct cell *none = cell_of(comparison, VARIANT_NONE, workload, level);

	for (enum variant_kind kind = 0; kind < VARIANTS; kind++) {
		const struct cell *cell = cell_of(comparison, kind, workload, level);
		struct estimate ratio = estimate_ratio(cell->throughputs, none->throughputs, comparison->rounds);

		if (!comparison->has[kind]) {
			continue;
		}
		page_row(page);
		page_cell(page, "%s: %s", workload_name(comparison, workload), variant_name(kind));
		page_cell(page, "%u", comparison->options.levels[level]);
		add_interval(page, estimate_of(cell->throughputs, comparison->rounds), 1);
		page_cell(page, "%.2f (%.2f to %.2f)", ratio.median, ratio.low, ratio.high);
		add_interval(page, estimate_of(cell->medians, comparison->rounds), 1000);
		add_interval(page, estimate_of(cell->p99s, comparison->rounds), 1000);
		if (cell->told > 0) {
			page_cell(page, "%.1f %%", (double)cell->hits * 100 / (double)cell->told);
		} else {
			page_cell(page, "%s", kind == VARIANT_NONE ? "0" : "");
		}
		page_cell(page, "%llu", (unsigned long long)cell->failed);
		page_row_end(page);
	}
}

static void
add_all_figures(const struct comparison *comparison, struct page *page)
{
	static const char *const head[] = {"",	     "at a time", "inferences/s", "× no cache",
					   "p50 µs", "p99 µs",	  "hits",	  "failed"};

	page_heading(page, "All figures");
	page_table(page, head, sizeof(head) / sizeof(*head));
	for (enum workload workload = 0; workload < WORKLOADS; workload++) {
		for (size_t level = 0; level < comparison->options.level_count; level++) {
			add_figures(comparison, workload, level, page);
		}
	}
	page_table_end(page);
}

/* A row of the table of trade-offs, of what is always so. */
static void
add_words(struct page *page, const char *what, const char *none, const char *local, const char *redis)
{
	page_row(page);
	page_cell(page, "%s", what);
	page_cell(page, "%s", none);
	page_cell(page, "%s", local);
	page_cell(page, "%s", redis);
	page_row_end(page);
}

/* And of what was measured: a figure for each of the three. */
static void
add_times(const struct comparison *comparison, struct page *page, const char *what, enum workload workload)
{
	char texts[3][TIME_SIZE] = {"", "", ""};

	for (enum variant_kind kind = VARIANT_NONE; kind <= VARIANT_REDIS; kind++) {
		if (comparison->has[kind]) {
			(void)time_text(comparison_latency(comparison, kind, workload), texts[kind]);
		}
	}
	add_words(page, what, texts[0], texts[1], texts[2]);
}

static void
add_break_even(const struct comparison *comparison, struct page *page)
{
	char texts[VARIANTS][TIME_SIZE] = {"", "", ""};

	for (enum variant_kind kind = VARIANT_LOCAL; kind <= VARIANT_REDIS; kind++) {
		struct estimate ratio = comparison_break_even(comparison, kind);

		if (!comparison->has[kind]) {
			continue;
		}
		if (ratio.median > 1) {
			(void)snprintf(texts[kind], TIME_SIZE, "never");
		} else {
			(void)snprintf(texts[kind], TIME_SIZE, "%.1f %% (%.1f to %.1f)", ratio.median * 100,
				       ratio.low * 100, ratio.high * 100);
		}
	}
	add_words(page, "pays from a hit ratio of", "", texts[VARIANT_LOCAL], texts[VARIANT_REDIS]);
}

static void
add_trade_offs(const struct comparison *comparison, struct page *page)
{
	static const char *const head[] = {"", "no cache", "local", "Redis"};

	page_heading(page, "Trade-offs");
	page_table(page, head, 4);
	add_times(comparison, page, "a request that comes again", WORKLOAD_REPEATED);
	add_times(comparison, page, comparison->new_is_known ? "all inputs in turn" : "a new request", WORKLOAD_NEW);
	if (!comparison->new_is_known) {
		add_break_even(comparison, page);
	}
	add_words(page, "after a restart", "", "empty", "full");
	add_words(page, "several servers", "", "each has its own", "share one");
	add_words(page, "memory", "none", "the server's", "Redis's");
	add_words(page, "while it is down", "", "", "every request runs the model");
	page_table_end(page);
}

/* --- The page --- */

static void
add_answers(const struct comparison *comparison, struct page *page)
{
	struct buf text;
	char first[TIME_SIZE];
	char second[TIME_SIZE];
	char third[TIME_SIZE];

	buf_init(&text, TEXT_MAX);
	buf_format(&text, "A request has %s and an answer %s; the model itself takes %s for it. ",
		   size_text(comparison->request_bytes, first), size_text(comparison->answer_bytes, second),
		   time_text(estimate_of(comparison->computes, comparison->rounds).median, third));
	if (comparison->different == 0) {
		buf_format(&text,
			   "%zu inputs were asked of each server twice, first unknown, then known: all answers had the "
			   "same bytes.",
			   comparison->checked);
	}
	page_paragraph(page, buf_bytes(&text));
	buf_fini(&text);
}

static void
add_missing(const struct comparison *comparison, struct page *page)
{
	struct buf text;

	for (enum variant_kind kind = 0; kind < VARIANTS; kind++) {
		bool is_told = kind == VARIANT_TRITON_LOCAL &&
			       strcmp(comparison->why_not[kind], comparison->why_not[VARIANT_TRITON_NONE]) == 0;

		if (!comparison->has[kind] && comparison->why_not[kind][0] != '\0' && !is_told) {
			buf_init(&text, TEXT_MAX);
			buf_format(&text, "Not measured: %s: %s.", variant_name(kind), comparison->why_not[kind]);
			page_paragraph(page, buf_bytes(&text));
			buf_fini(&text);
		}
	}
}

static void
add_method(const struct comparison *comparison, const char *command, const char *machine, struct page *page)
{
	const struct comparison_options *options = &comparison->options;
	struct estimate estimate =
		estimate_of(cell_of(comparison, VARIANT_NONE, WORKLOAD_NEW, 0)->means, comparison->rounds);
	struct buf text;

	page_heading(page, "How it was measured");
	page_code(page, command);
	buf_init(&text, TEXT_MAX);
	buf_format(&text,
		   "On %s. All servers ran at the same time and were loaded in turns, one window of %llu ms for each, "
		   "in %zu "
		   "rounds. Figures are medians over the rounds; in brackets is the interval that has the true median "
		   "with a "
		   "probability of %.0f %%. Popular requests are of %llu inputs, the k-th of which has a weight of "
		   "1/k^%g. The "
		   "lines of the last chart are hits of a model whose answers have these sizes. Hits are what the "
		   "replies say; "
		   "Triton's do not say it. Redis ran on the same machine, unless the command names another one.",
		   machine, (unsigned long long)(options->window_ns / 1000000), comparison->rounds,
		   estimate.confidence * 100, (unsigned long long)options->popularity.distinct,
		   options->popularity.alpha);
	page_paragraph(page, buf_bytes(&text));
	buf_fini(&text);
}

static void
write_page(const struct comparison *comparison, const char *command, const char *machine, struct page *page)
{
	char title[256];
	struct buf text;

	(void)snprintf(title, sizeof(title), "%s with and without a cache", comparison->options.variants.model);
	page_begin(page, title);
	buf_init(&text, TEXT_MAX);
	report_recommendation(comparison, &text);
	page_paragraph(page, buf_bytes(&text));
	buf_fini(&text);
	add_answers(comparison, page);
	add_missing(comparison, page);
	add_chart(comparison, REPORT_THROUGHPUT, page);
	add_chart(comparison, REPORT_LATENCY, page);
	add_trade_offs(comparison, page);
	add_chart(comparison, REPORT_BREAK_EVEN, page);
	add_all_figures(comparison, page);
	add_method(comparison, command, machine, page);
	page_end(page);
}

void
report_markdown(const struct comparison *comparison, const char *command, const char *machine, struct buf *out)
{
	write_page(comparison, command, machine, &(struct page){.is_html = false, .out = out});
}

void
report_html(const struct comparison *comparison, const char *command, const char *machine, struct buf *out)
{
	write_page(comparison, command, machine, &(struct page){.is_html = true, .out = out});
}
