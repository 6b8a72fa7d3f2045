/* Routes for the model repository, log and trace settings, and shared memory. */
#include "server/describe.h"
#include "server/handlers.h"
#include "wire/admin_body.h"

#include <inttypes.h>

#define JSON "application/json"

/* --- Repository --- */

struct index_writer {
	struct buf *out;
	bool first;
};

static void
write_item(void *context, const char *name, int64_t version, const char *state, const char *reason)
{
	struct index_writer *writer = context;

	buf_text(writer->out, writer->first ? "{\"name\":" : ",{\"name\":");
	writer->first = false;
	buf_json_string(writer->out, bytes_text(name));
	if (state != NULL) {
		buf_format(writer->out, ",\"version\":\"%" PRId64 "\",\"state\":\"%s\"", version, state);
		if (*reason != '\0') {
			buf_text(writer->out, ",\"reason\":");
			buf_json_string(writer->out, bytes_text(reason));
		}
	}
	buf_byte(writer->out, '}');
}

void
describe_index(struct repository *repository, bool ready_only, struct buf *out)
{
	struct index_writer writer = {.out = out, .first = true};

	buf_byte(out, '[');
	repository_index(repository, ready_only, write_item, &writer);
	buf_byte(out, ']');
}

void
handle_index(struct exchange *exchange)
{
	struct error error;
	bool ready_only;

	if (index_body_decode(exchange->body, &ready_only, &error) != STATUS_OK) {
		reply_error(exchange, &error);
		return;
	}
	describe_index(exchange->options->repository, ready_only, &exchange->text);
	reply_text(exchange, JSON);
}

struct pending_command {
	struct repository_command command; /* first */
	struct exchange *exchange;
};

static void
on_command_done(struct repository_command *command)
{
	struct exchange *exchange = ((struct pending_command *)command)->exchange;

	if (command->status == STATUS_OK) {
		reply_bare(exchange, true, JSON);
	} else {
		reply_error(exchange, &command->error);
	}
}

static void
send_command(struct exchange *exchange, const struct load_body *body, const struct repository_command *command)
{
	struct pending_command *pending = arena_get(&exchange->arena, sizeof(*pending));
	struct repository_file *files = arena_array(&exchange->arena, body->file_count, sizeof(struct repository_file));

	if (pending == NULL || files == NULL) {
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the request");
		return;
	}
	for (size_t i = 0; i < body->file_count; i++) {
		files[i] = (struct repository_file){.path = body->files[i].path, .content = body->files[i].content};
	}
	pending->exchange = exchange;
	pending->command = *command;
	pending->command.loop = exchange->lane->loop;
	pending->command.done = on_command_done;
	pending->command.name = path_of(exchange)->model;
	pending->command.has_config = body->has_config;
	pending->command.config = body->config;
	pending->command.files = files;
	pending->command.file_count = body->file_count;
	repository_command(exchange->options->repository, &pending->command);
}

bool
admit_model_control(struct exchange *exchange)
{
	if (exchange->options->model_control) {
		return true;
	}
	reply_error_text(exchange, STATUS_UNAVAILABLE,
			 "explicit model load / unload is not allowed if polling is enabled");
	return false;
}

struct loading {
	struct load_body body;
	enum status status;
	struct error error;
};

static void
decode_load(struct exchange *exchange)
{
	struct loading *loading = exchange->work_state;

	loading->status = load_body_decode(exchange->body, &exchange->arena, &loading->body, &loading->error);
}

static void
start_load(struct exchange *exchange)
{
	struct loading *loading = exchange->work_state;

	if (loading->status != STATUS_OK) {
		reply_error(exchange, &loading->error);
	} else {
		send_command(exchange, &loading->body, &(struct repository_command){0});
	}
}

void
handle_load(struct exchange *exchange)
{
	struct loading *loading;

	if (!admit_model_control(exchange)) {
		return;
	}
	loading = arena_get(&exchange->arena, sizeof(*loading));
	if (loading == NULL) {
		reply_error_text(exchange, STATUS_UNAVAILABLE, "no memory for the request");
		return;
	}
	exchange->work_state = loading;
	if (exchange->body.length > EXCHANGE_LONG) {
		exchange_work(exchange, exchange->body.length, decode_load, start_load);
	} else {
		decode_load(exchange);
		start_load(exchange);
	}
}

void
handle_unload(struct exchange *exchange)
{
	struct error error;
	bool dependents;

	if (!admit_model_control(exchange)) {
		return;
	}
	if (unload_body_decode(exchange->body, &dependents, &error) != STATUS_OK) {
		reply_error(exchange, &error);
		return;
	}
	send_command(exchange, &(struct load_body){0},
		     &(struct repository_command){.unload = true, .unload_dependents = dependents});
}

void
handle_named_repository(struct exchange *exchange)
{
	reply_error_text(exchange, STATUS_UNSUPPORTED, "'repository_name' specification is not supported");
}

/* --- Log settings --- */

void
handle_log_settings(struct exchange *exchange)
{
	struct log_settings settings = log_current();
	struct error error;

	if (exchange->head.method == HTTP1_POST) {
		if (log_body_decode(exchange->body, &settings, &error) != STATUS_OK) {
			reply_error(exchange, &error);
			return;
		}
		log_configure(&settings);
	}
	buf_text(&exchange->text, "{\"log_file\":");
	buf_json_string(&exchange->text, bytes_text(exchange->options->log_file));
	buf_format(
		&exchange->text,
		",\"log_info\":%s,\"log_warning\":%s,\"log_error\":%s,\"log_verbose_level\":%d,\"log_format\":\"%s\"}",
		settings.info ? "true" : "false", settings.warning ? "true" : "false",
		settings.error ? "true" : "false", settings.verbose, log_format_name(settings.format));
	reply_text(exchange, JSON);
}

/* --- Unsupported: tracing, shared memory --- */

void
handle_trace_settings(struct exchange *exchange)
{
	struct error error;

	if (exchange->head.method == HTTP1_POST) {
		reply_error_text(exchange, STATUS_UNSUPPORTED, "tracing is not supported");
		return;
	}
	if (path_of(exchange)->model.length > 0 &&
	    model_table_entry(server_lane_table(exchange->lane), path_of(exchange)->model) == NULL) {
		(void)error_set(&error, STATUS_INVALID_ARGUMENT, "Request for unknown model : %.*s",
				BYTES_ARGS(path_of(exchange)->model));
		reply_error(exchange, &error);
		return;
	}
	buf_text(&exchange->text, "{\"trace_level\":[\"OFF\"],\"trace_rate\":\"1000\",\"trace_count\":\"-1\","
				  "\"log_frequency\":\"0\",\"trace_file\":\"\",\"trace_mode\":\"triton\"}");
	reply_text(exchange, JSON);
}

static void
refuse_region(struct exchange *exchange, const char *kind)
{
	struct error error;

	(void)error_set(&error, STATUS_NOT_FOUND, "Unable to find %s shared memory region: '%.*s'", kind,
			BYTES_ARGS(path_of(exchange)->rest));
	reply_error(exchange, &error);
}

void
handle_system_region_status(struct exchange *exchange)
{
	refuse_region(exchange, "system");
}

void
handle_cuda_region_status(struct exchange *exchange)
{
	refuse_region(exchange, "cuda");
}

void
handle_shared_memory_status(struct exchange *exchange)
{
	buf_text(&exchange->text, "[]");
	reply_text(exchange, JSON);
}

void
handle_shared_memory_register(struct exchange *exchange)
{
	reply_error_text(exchange, STATUS_UNSUPPORTED, "shared memory is not supported");
}

void
handle_cuda_shared_memory_register(struct exchange *exchange)
{
	reply_error_text(exchange, STATUS_INVALID_ARGUMENT,
			 "failed to register CUDA shared memory region: '%.*s', GPUs not supported",
			 BYTES_ARGS(path_of(exchange)->rest));
}

void
handle_shared_memory_unregister(struct exchange *exchange)
{
	reply_bare(exchange, true, JSON);
}
