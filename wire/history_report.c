#include "wire/history_report.h"

#include "wire/json.h"

#define FIELDS_MAX 64

/* The place of a field in each sample, or FIELDS_MAX. */
static size_t
place_of(yyjson_val *fields, const char *name)
{
	for (size_t i = 0; i < yyjson_arr_size(fields) && i < FIELDS_MAX; i++) {
		if (yyjson_equals_str(yyjson_arr_get(fields, i), name)) {
			return i;
		}
	}
	return FIELDS_MAX;
}

static uint64_t
value_of(yyjson_val *fields, yyjson_val *sample, const char *name)
{
	return yyjson_get_uint(yyjson_arr_get(sample, place_of(fields, name)));
}

/* Keeps the last value that is not 0. */
static void
keep(uint64_t *kept, uint64_t value)
{
	*kept = value != 0 ? value : *kept;
}

static void
add_sample(yyjson_val *fields, yyjson_val *sample, struct history_report *report)
{
	uint64_t hits = value_of(fields, sample, "hits") + value_of(fields, sample, "joined");

	report->seconds++;
	report->last_ms = value_of(fields, sample, "time_ms");
	report->requests += value_of(fields, sample, "requests");
	report->failures += value_of(fields, sample, "failures");
	report->hits += hits;
	report->rows += hits + value_of(fields, sample, "misses") + value_of(fields, sample, "bypassed") +
			value_of(fields, sample, "errors");
	report->saved_us += value_of(fields, sample, "saved_us");
	report->evictions += value_of(fields, sample, "evictions");
	keep(&report->hit_p50_us, value_of(fields, sample, "hit_p50_us"));
	keep(&report->hit_p99_us, value_of(fields, sample, "hit_p99_us"));
	keep(&report->model_p50_us, value_of(fields, sample, "model_p50_us"));
	keep(&report->model_p99_us, value_of(fields, sample, "model_p99_us"));
	report->entries = value_of(fields, sample, "entries");
	report->used_bytes = value_of(fields, sample, "used_bytes");
}

enum status
history_report_decode(struct bytes json, size_t seconds, struct history_report *report, struct error *error)
{
	yyjson_doc *document = json_read(json, error);
	yyjson_val *fields;
	yyjson_val *samples;
	enum status status;
	size_t count;

	*report = (struct history_report){0};
	if (document == NULL) {
		return error->status;
	}
	status = json_get_array(yyjson_doc_get_root(document), "fields", &fields, error);
	if (status == STATUS_OK) {
		status = json_get_array(yyjson_doc_get_root(document), "samples", &samples, error);
	}
	if (status == STATUS_OK) {
		count = yyjson_arr_size(samples);
		for (size_t i = count > seconds ? count - seconds : 0; i < count; i++) {
			add_sample(fields, yyjson_arr_get(samples, i), report);
		}
	}
	yyjson_doc_free(document);
	return status;
}
