/* Health; metadata of the server and of models; model configurations. */
#include "server/describe.h"
#include "server/handlers.h"
#include "wire/model_config.h"

#include <inttypes.h>

#define JSON "application/json"

enum status
read_version(struct bytes text, int64_t *version, struct error *error)
{
	bool negative = text.length > 0 && *text.at == '-';
	bool good = !negative || text.length > 1;

	*version = text.length == 0 ? -1 : 0;
	for (size_t i = negative; i < text.length && good; i++) {
		good = text.at[i] >= '0' && text.at[i] <= '9' && !__builtin_mul_overflow(*version, 10, version) &&
		       !__builtin_add_overflow(*version, text.at[i] - '0', version);
	}
	if (!good) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "failed to get model version from specified version string '%.*s' (details: stol), "
				 "version should be an integral value > 0",
				 BYTES_ARGS(text));
	}
	if (negative) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "invalid model version specified '%.*s' , version should be an integral value > 0",
				 BYTES_ARGS(text));
	}
	return STATUS_OK;
}

enum status
find_model(const struct model_table *table, struct bytes name, struct bytes version, struct model **model,
	   struct error *error)
{
	int64_t number;
	enum status status = read_version(version, &number, error);

	return status == STATUS_OK ? model_table_find(table, name, number, model, error) : status;
}

static enum status
find_named(struct exchange *exchange, struct model **model, struct error *error)
{
	const struct path *path = path_of(exchange);

	return find_model(server_lane_table(exchange->lane), path->model, path->version, model, error);
}

struct model *
handler_find_model(struct exchange *exchange)
{
	struct model *model = NULL;
	struct error error;

	return find_named(exchange, &model, &error) == STATUS_OK ? model : NULL;
}

struct model *
handler_model(struct exchange *exchange)
{
	struct model *model = NULL;
	struct error error;

	if (find_named(exchange, &model, &error) != STATUS_OK) {
		reply_error(exchange, &error);
		return NULL;
	}
	return model;
}

void
handle_live(struct exchange *exchange)
{
	reply_bare(exchange, true, "text/plain");
}

void
handle_ready(struct exchange *exchange)
{
	reply_bare(exchange, server_lane_ready(exchange->lane), "text/plain");
}

void
describe_server(const struct server_options *options, struct buf *out)
{
	buf_text(out, "{\"name\":");
	buf_json_string(out, bytes_text(options->id));
	buf_text(out, ",\"version\":");
	buf_json_string(out, bytes_text(options->version));
	buf_text(out, ",\"extensions\":[\"classification\",\"model_repository\",\"model_repository(unload_dependents)"
		      "\",\"schedule_policy\","
		      "\"model_configuration\",\"binary_tensor_data\",\"parameters\",\"statistics\",\"logging\"]}");
}

void
handle_server_metadata(struct exchange *exchange)
{
	describe_server(exchange->options, &exchange->text);
	reply_text(exchange, JSON);
}

void
handle_model_ready(struct exchange *exchange)
{
	struct model *model;
	struct error error;

	if (find_named(exchange, &model, &error) == STATUS_OK) {
		reply_bare(exchange, true, "text/plain");
	} else {
		reply_http_error(exchange, 400, "Model version not ready");
	}
}

static void
write_tensors(struct buf *out, const struct model_config *config, const struct model_tensor *tensors, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct model_tensor *tensor = &tensors[i];

		buf_text(out, i == 0 ? "{\"name\":" : ",{\"name\":");
		buf_json_string(out, tensor->name);
		buf_format(out, ",\"datatype\":\"%s\",\"shape\":[", datatype_name(tensor->datatype));
		if (config->max_batch_size > 0) {
			buf_text(out, "-1");
		}
		for (size_t k = 0; k < tensor->dims.rank; k++) {
			if (k > 0 || config->max_batch_size > 0) {
				buf_byte(out, ',');
			}
			buf_signed(out, tensor->dims.dims[k]);
		}
		buf_text(out, "]}");
	}
}

void
describe_model(const struct model_table *table, const struct model *model, bool only_version, struct buf *out)
{
	const struct model_config *config = &model->config;
	const struct model_table_entry *entry = model_table_entry(table, config->name);

	buf_text(out, "{\"name\":");
	buf_json_string(out, config->name);
	buf_text(out, ",\"versions\":[");
	for (size_t i = 0; i < entry->version_count; i++) {
		if (!only_version || entry->versions[i] == model) {
			buf_format(out, "%s\"%" PRId64 "\"", only_version || i == 0 ? "" : ",",
				   entry->versions[i]->version);
		}
	}
	buf_text(out, "],\"platform\":");
	buf_json_string(out, config->platform.length > 0 ? config->platform : config->backend);
	buf_text(out, ",\"inputs\":[");
	write_tensors(out, config, config->inputs, config->input_count);
	buf_text(out, "],\"outputs\":[");
	write_tensors(out, config, config->outputs, config->output_count);
	buf_text(out, "]}");
}

void
handle_model_metadata(struct exchange *exchange)
{
	struct model *model = handler_model(exchange);

	if (model != NULL) {
		/* Use the snapshot that holds the model: server_lane_table could replace and free it. */
		describe_model(exchange->lane->view.table, model, path_of(exchange)->version.length > 0,
			       &exchange->text);
		reply_text(exchange, JSON);
	}
}

void
handle_model_config(struct exchange *exchange)
{
	struct model *model = handler_model(exchange);

	if (model != NULL) {
		model_config_print(&model->config, &exchange->text);
		reply_text(exchange, JSON);
	}
}
