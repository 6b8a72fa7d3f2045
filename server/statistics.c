/* GET /v2/models[/N[/versions/V]]/stats */
#include "server/describe.h"
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
	buf_text(out, "],\"memory_usage\":[]");
	/* For servers of ours that stand in front: see wire/upstream_body.h. */
	if (model_is_suspended(model)) {
		buf_text(out, ",\"unseen_changes\":true");
	}
	buf_byte(out, '}');
}

static bool
has_version(const struct model *model, struct bytes version)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, model->version);
	return version.length == 0 || bytes_equal_text(version, text);
}

/* Writes the entry's versions that are asked for; returns how many. */
static size_t
write_entry(struct buf *out, const struct model_table_entry *entry, struct bytes version, bool first)
{
	size_t written = 0;

	for (size_t i = 0; i < entry->version_count; i++) {
		if (has_version(entry->versions[i], version)) {
			if (!first || written > 0) {
				buf_byte(out, ',');
			}
			write_model(out, entry->versions[i]);
			written++;
		}
	}
	return written;
}

enum status
describe_statistics(const struct model_table *table, struct bytes name, struct bytes version, struct buf *out,
		    struct error *error)
{
	const struct model_table_entry *one = name.length == 0 ? NULL : model_table_entry(table, name);
	size_t written = 0;
	int64_t number;

	if (read_version(version, &number, error) != STATUS_OK) {
		return error->status;
	}
	if (name.length > 0 && (one == NULL || one->version_count == 0)) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "requested model '%.*s' is not available",
				 BYTES_ARGS(name));
	}
	buf_text(out, "{\"model_stats\":[");
	for (size_t i = 0; i < table->count; i++) {
		if (one == NULL || one == &table->entries[i]) {
			written += write_entry(out, &table->entries[i], one == NULL ? bytes_make(NULL, 0) : version,
					       written == 0);
		}
	}
	if (one != NULL && written == 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "requested model version is not available for model '%.*s'", BYTES_ARGS(name));
	}
	buf_text(out, "]}");
	return STATUS_OK;
}

static void
reply_statistics(struct exchange *exchange, struct bytes name, struct bytes version)
{
	struct error error;

	if (describe_statistics(server_lane_table(exchange->lane), name, version, &exchange->text, &error) ==
	    STATUS_OK) {
		reply_text(exchange, "application/json");
	} else {
		reply_error(exchange, &error);
	}
}

void
handle_all_statistics(struct exchange *exchange)
{
	reply_statistics(exchange, bytes_make(NULL, 0), bytes_make(NULL, 0));
}

void
handle_model_statistics(struct exchange *exchange)
{
	reply_statistics(exchange, path_of(exchange)->model, path_of(exchange)->version);
}
