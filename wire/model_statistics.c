#include "wire/model_statistics.h"

#include "wire/json.h"

static const char *const kinds[STATISTICS_KINDS] = {
	[STATISTICS_SUCCESS] = "success",
	[STATISTICS_FAIL] = "fail",
	[STATISTICS_QUEUE] = "queue",
	[STATISTICS_COMPUTE_INPUT] = "compute_input",
	[STATISTICS_COMPUTE_INFER] = "compute_infer",
	[STATISTICS_COMPUTE_OUTPUT] = "compute_output",
	[STATISTICS_CACHE_HIT] = "cache_hit",
	[STATISTICS_CACHE_MISS] = "cache_miss",
};

static void
add_model(yyjson_val *model, struct model_statistics *sum)
{
	yyjson_val *durations = yyjson_obj_get(model, "inference_stats");

	sum->inferences += yyjson_get_uint(yyjson_obj_get(model, "inference_count"));
	sum->executions += yyjson_get_uint(yyjson_obj_get(model, "execution_count"));
	for (size_t i = 0; i < STATISTICS_KINDS; i++) {
		yyjson_val *duration = yyjson_obj_get(durations, kinds[i]);

		sum->durations[i].count += yyjson_get_uint(yyjson_obj_get(duration, "count"));
		sum->durations[i].ns += yyjson_get_uint(yyjson_obj_get(duration, "ns"));
	}
}

enum status
model_statistics_decode(struct bytes json, struct model_statistics *statistics, struct error *error)
{
	yyjson_doc *document = json_read(json, error);
	yyjson_arr_iter items;
	yyjson_val *models;
	yyjson_val *model;
	enum status status;

	*statistics = (struct model_statistics){0};
	if (document == NULL) {
		return error->status;
	}
	status = json_get_array(yyjson_doc_get_root(document), "model_stats", &models, error);
	if (status == STATUS_OK) {
		items = yyjson_arr_iter_with(models);
		while ((model = yyjson_arr_iter_next(&items)) != NULL) {
			add_model(model, statistics);
		}
	}
	yyjson_doc_free(document);
	return status;
}

static bool
grows(uint64_t before, uint64_t after, uint64_t *difference)
{
	*difference = after - before;
	return after >= before;
}

struct model_statistics
model_statistics_between(const struct model_statistics *before, const struct model_statistics *after)
{
	struct model_statistics between;
	bool is_same_server = grows(before->inferences, after->inferences, &between.inferences) &&
			      grows(before->executions, after->executions, &between.executions);

	for (size_t i = 0; i < STATISTICS_KINDS; i++) {
		const struct statistics_duration *from = &before->durations[i];
		const struct statistics_duration *to = &after->durations[i];

		is_same_server = grows(from->count, to->count, &between.durations[i].count) &&
				 grows(from->ns, to->ns, &between.durations[i].ns) && is_same_server;
	}
	return is_same_server ? between : (struct model_statistics){0};
}
