#include "app/cache_print.h"

#include <inttypes.h>

#define LABEL_WIDTH 16

void
cache_print_text(struct bytes text, size_t width, FILE *out)
{
	for (size_t i = 0; i < text.length; i++) {
		(void)fputc(text.at[i] < 0x20 || text.at[i] == 0x7f ? '?' : text.at[i], out);
	}
	for (size_t i = text.length; i < width; i++) {
		(void)fputc(' ', out);
	}
}

static void
print_ratio(uint64_t hits, uint64_t lookups, FILE *out)
{
	if (lookups == 0) {
		(void)fprintf(out, " %8s", "-");
	} else {
		(void)fprintf(out, " %6.1f %%", 100 * (double)hits / (double)lookups);
	}
}

static size_t
name_width(const struct cache_report *report)
{
	size_t width = sizeof("MODEL") - 1;

	for (size_t i = 0; i < report->model_count; i++) {
		width = report->models[i].name.length > width ? report->models[i].name.length : width;
	}
	return width;
}

void
cache_print_models(const struct cache_report *report, FILE *out)
{
	size_t width = name_width(report);

	cache_print_text(bytes_text("MODEL"), width, out);
	(void)fprintf(out, " %-10s %-7s %12s %12s %8s %12s %10s %10s %10s\n", "VERSION", "BY", "LOOKUPS", "HITS",
		      "RATIO", "MISSES", "JOINED", "BYPASSED", "ERRORS");
	for (size_t i = 0; i < report->model_count; i++) {
		const struct cache_report_model *model = &report->models[i];

		cache_print_text(model->name, width, out);
		(void)fputc(' ', out);
		cache_print_text(model->version, 10, out);
		(void)fputc(' ', out);
		cache_print_text(model->granularity, 7, out);
		(void)fprintf(out, " %12" PRIu64 " %12" PRIu64, model->lookups, model->hits);
		print_ratio(model->hits, model->lookups, out);
		(void)fprintf(out, " %12" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n", model->misses,
			      model->joined, model->bypassed, model->errors);
	}
}

static void
show_number(const char *label, uint64_t number, FILE *out)
{
	(void)fprintf(out, "%-*s %" PRIu64 "\n", LABEL_WIDTH, label, number);
}

static void
show_memory(const struct cache_report *report, FILE *out)
{
	if (report->capacity_bytes == 0) {
		return; /* a Redis of others, too: it does not say what is ours */
	}
	(void)fprintf(out, "%-*s %" PRIu64 " of %" PRIu64 " bytes\n", LABEL_WIDTH, "used", report->used_bytes,
		      report->capacity_bytes);
	show_number("entries", report->entries, out);
}

void
cache_print_store(const struct cache_report *report, FILE *out)
{
	cache_print_text(bytes_text("store"), LABEL_WIDTH + 1, out);
	cache_print_text(report->description, 0, out);
	(void)fputc('\n', out);
	show_memory(report, out);
	show_number("lookups", report->lookups, out);
	(void)fprintf(out, "%-*s %" PRIu64, LABEL_WIDTH, "hits", report->hits);
	print_ratio(report->hits, report->lookups, out);
	(void)fputc('\n', out);
	show_number("inserts", report->inserts, out);
	show_number("dropped", report->dropped, out);
	show_number("evictions", report->evictions, out);
	show_number("lookup failures", report->lookup_failures, out);
	for (size_t i = 0; i < report->setting_count; i++) {
		(void)fputs(i == 0 ? "settings         " : "                 ", out);
		cache_print_text(report->settings[i].name, 0, out);
		(void)fputc('=', out);
		cache_print_text(report->settings[i].value, 0, out);
		(void)fputc('\n', out);
	}
}
