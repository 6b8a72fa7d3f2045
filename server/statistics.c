/* GET /v2/models[/N[/versions/V]]/stats */
#include "server/handlers.h"

#include <inttypes.h>
#include <stdio.h>

static void
write_duration(struct buf *out, const char *name, const struct duration_statistic *statistic)
{
	buf_format(out, "\"%s\":{\"count\":%" PRIu64 ",\"ns\":%" PRIu64 "}", name, statistic->count, statistic->ns);
}

static void
write_batches(struct buf *out, struct statistics *statistics)
{
	bool first = true;

	for (size_t i = 1; i <= statistics_batch_max(statistics); i++) {
		struct batch_statistic sum;

		statistics_sum_batch(statistics, i, &sum);
		if (sum.compute_infer.count == 0) {
			continue;
		}
		buf_format(out, "%s{\"batch_size\":%zu,", first ? "" : ",", i);
		write_duration(out, "compute_input", &sum.compute_input);
		buf_byte(out, ',');
		write_duration(out, "compute_infer", &sum.compute_infer);
		buf_byte(out, ',');
		write_duration(out, "compute_output", &sum.compute_output);
		buf_byte(out, '}');
		first = false;
	}
}

static void
write_model(struct buf *out, const struct model *model)
{
	struct model_statistics sum;
	const struct {
		const char *name;
		const struct duration_statistic *statistic;
	} durations[] = {
		{"success", &sum.success},
		{"fail", &sum.fail},
		{"queue", &sum.queue},
		{"compute_input", &sum.compute_input},
		{"compute_infer", &sum.compute_infer},
		{"compute_output", &sum.compute_output},
		{"cache_hit", &sum.cache_hit},
		{"cache_miss", &sum.cache_miss},
	};

	statistics_sum(model->statistics, &sum);
	buf_text(out, "{\"name\":");
	buf_json_string(out, model->config.name);
	buf_format(out,
		   ",\"version\":\"%" PRId64 "\",\"last_inference\":%" PRIu64 ",\"inference_count\":%" PRIu64
		   ",\"execution_count\":%" PRIu64 ",\"inference_stats\":{",
		   model->version, sum.last_inference_ms, sum.inference_count, sum.execution_count);
	for (size_t i = 0; i < sizeof(durations) / sizeof(*durations); i++) {
		if (i > 0) {
			buf_byte(out, ',');
		}
		write_duration(out, durations[i].name, durations[i].statistic);
	}
	buf_text(out, "},\"response_stats\":{},\"batch_stats\":[");
	write_batches(out, model->statistics);
	buf_text(out, "],\"memory_usage\":[]}");
}

void
handle_all_statistics(struct exchange *exchange)
{
	const struct model_table *table = handler_table(exchange);
	bool first = true;

	buf_text(&exchange->text, "{\"model_stats\":[");
	for (size_t i = 0; i < table->count; i++) {
		for (size_t k = 0; k < table->entries[i].version_count; k++) {
			if (!first) {
				buf_byte(&exchange->text, ',');
			}
			write_model(&exchange->text, table->entries[i].versions[k]);
			first = false;
		}
	}
	buf_text(&exchange->text, "]}");
	reply_text(exchange, "application/json");
}

void
handle_model_statistics(struct exchange *exchange)
{
	const struct path *path = path_of(exchange);
	const struct model_table_entry *entry = model_table_entry(handler_table(exchange), path->model);
	bool found = false;

	if (entry == NULL || entry->version_count == 0) {
		reply_error_text(exchange, STATUS_INVALID_ARGUMENT, "requested model '%.*s' is not available",
				 BYTES_ARGS(path->model));
		return;
	}
	buf_text(&exchange->text, "{\"model_stats\":[");
	for (size_t i = 0; i < entry->version_count; i++) {
		char version[24];

		(void)snprintf(version, sizeof(version), "%" PRId64, entry->versions[i]->version);
		if (path->version.length > 0 && !bytes_equal_text(path->version, version)) {
			continue;
		}
		if (found) {
			buf_byte(&exchange->text, ',');
		}
		write_model(&exchange->text, entry->versions[i]);
		found = true;
	}
	if (!found) {
		reply_error_text(exchange, STATUS_INVALID_ARGUMENT,
				 "requested model version is not available for model '%.*s'", BYTES_ARGS(path->model));
		return;
	}
	buf_text(&exchange->text, "]}");
	reply_text(exchange, "application/json");
}
