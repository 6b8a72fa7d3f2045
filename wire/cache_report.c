#include "wire/cache_report.h"

#include "wire/json.h"

#define NO_REPORT "the response is no report of a cache"

/* Reads where the text of views and the memory of arrays come from the arena; it fails once, for all. */
struct reading {
	struct arena *arena;
	bool failed;
};

/* What a server of another version does not tell is 0. */
static uint64_t
number_of(yyjson_val *object, const char *name)
{
	return yyjson_get_uint(yyjson_obj_get(object, name));
}

static struct bytes
text_of(struct reading *reading, yyjson_val *value)
{
	struct bytes copy = arena_copy(reading->arena, yyjson_is_str(value) ? json_bytes(value) : bytes_text(""));

	reading->failed = reading->failed || copy.at == NULL;
	return copy;
}

static void *
array_of(struct reading *reading, size_t count, size_t size)
{
	void *array = arena_array(reading->arena, count, size);

	reading->failed = reading->failed || array == NULL;
	return array;
}

static void
read_settings(struct reading *reading, yyjson_val *object, struct cache_report *report)
{
	yyjson_obj_iter members = yyjson_obj_iter_with(object);
	yyjson_val *name;

	report->settings = array_of(reading, yyjson_obj_size(object), sizeof(*report->settings));
	while (!reading->failed && (name = yyjson_obj_iter_next(&members)) != NULL) {
		report->settings[report->setting_count++] = (struct cache_report_setting){
			.name = text_of(reading, name), .value = text_of(reading, yyjson_obj_iter_get_val(name))};
	}
}

static void
read_models(struct reading *reading, yyjson_val *array, struct cache_report *report)
{
	yyjson_arr_iter items = yyjson_arr_iter_with(array);
	yyjson_val *item;

	report->models = array_of(reading, yyjson_arr_size(array), sizeof(*report->models));
	while (!reading->failed && (item = yyjson_arr_iter_next(&items)) != NULL) {
		report->models[report->model_count++] = (struct cache_report_model){
			.name = text_of(reading, yyjson_obj_get(item, "name")),
			.version = text_of(reading, yyjson_obj_get(item, "version")),
			.granularity = text_of(reading, yyjson_obj_get(item, "granularity")),
			.lookups = number_of(item, "lookups"),
			.hits = number_of(item, "hits"),
			.misses = number_of(item, "misses"),
			.joined = number_of(item, "joined"),
			.bypassed = number_of(item, "bypassed"),
			.errors = number_of(item, "errors"),
			.saved_seconds = yyjson_get_num(yyjson_obj_get(item, "saved_seconds")),
		};
	}
}

static enum status
read_report(yyjson_val *root, struct reading *reading, struct cache_report *report, struct error *error)
{
	yyjson_val *models = yyjson_obj_get(root, "models");

	if (!yyjson_is_arr(models)) {
		return error_set(error, STATUS_INTERNAL, NO_REPORT);
	}
	*report = (struct cache_report){
		.description = text_of(reading, yyjson_obj_get(root, "description")),
		.lookups = number_of(root, "lookups"),
		.hits = number_of(root, "hits"),
		.capacity_bytes = number_of(root, "capacity_bytes"),
		.used_bytes = number_of(root, "used_bytes"),
		.entries = number_of(root, "entries"),
		.inserts = number_of(root, "inserts"),
		.dropped = number_of(root, "dropped"),
		.evictions = number_of(root, "evictions"),
		.lookup_failures = number_of(root, "lookup_failures"),
	};
	read_settings(reading, yyjson_obj_get(root, "configuration"), report);
	read_models(reading, models, report);
	return reading->failed ? error_set(error, STATUS_UNAVAILABLE, "no memory for the report of the cache")
			       : STATUS_OK;
}

enum status
cache_report_decode(struct bytes json, struct arena *arena, struct cache_report *report, struct error *error)
{
	struct reading reading = {.arena = arena};
	yyjson_doc *document = json_read(json, error);
	enum status status;

	if (document == NULL) {
		return error_set(error, STATUS_INTERNAL, NO_REPORT);
	}
	status = read_report(yyjson_doc_get_root(document), &reading, report, error);
	yyjson_doc_free(document);
	return status;
}

enum status
cache_purged_decode(struct bytes json, uint64_t *removed, struct error *error)
{
	yyjson_doc *document = json_read(json, error);
	enum status status;

	status = json_as_unsigned(yyjson_obj_get(yyjson_doc_get_root(document), "purged"), "purged", removed, error);
	yyjson_doc_free(document);
	return status == STATUS_OK ? status
				   : error_set(error, STATUS_INTERNAL, "the response does not say what was purged");
}
