/* The model repository, settings and shared memory over gRPC. */
#include "base/memory.h"
#include "server/describe.h"
#include "server/grpc_service.h"

#include <stdlib.h>

static enum status
refuse_repository_name(struct bytes name, struct error *error)
{
	return name.length == 0
		       ? STATUS_OK
		       : error_set(error, STATUS_UNSUPPORTED, "'repository_name' specification is not supported");
}

void
grpc_repository_index(struct grpc_call *call, struct grpc_message message)
{
	struct index_request request;
	struct error error;
	struct buf json;
	enum status status = index_request_decode(message.content, &request, &error);

	if (status == STATUS_OK) {
		status = refuse_repository_name(request.repository_name, &error);
	}
	grpc_message_release(&message);
	if (status != STATUS_OK) {
		grpc_reply_error(call, &error);
		return;
	}
	buf_init(&json, JSON_MAX);
	buf_text(&json, "{\"models\":");
	describe_index(grpc_lane_of(call)->options->repository, request.ready, &json);
	buf_byte(&json, '}');
	grpc_reply_json(call, MESSAGE_REPOSITORY_INDEX, &json);
}

/* --- Load and unload --- */

/* A command under way. It outlives its call if that is cancelled, for the repository cannot be stopped in it. */
struct control {
	struct repository_command command; /* first */
	struct server_lane *lane;
	struct grpc_call *call; /* NULL: cancelled */
	struct grpc_message message;
	struct arena arena;
};

static void
free_control(struct control *control)
{
	grpc_message_release(&control->message);
	arena_fini(&control->arena);
	free(control);
}

static void
on_controlled(struct repository_command *command)
{
	struct control *control = (struct control *)command;
	struct server_lane *lane = control->lane;

	if (control->call != NULL && command->status == STATUS_OK) {
		grpc_reply_empty(control->call);
	} else if (control->call != NULL) {
		grpc_reply_error(control->call, &command->error);
	}
	free_control(control);
	server_lane_release(lane);
}

static void
on_control_cancelled(struct grpc_call *call)
{
	struct control *control = grpc_call_state(call);

	if (control != NULL) { /* else its message had not come yet */
		control->call = NULL;
	}
}

static enum status
check_control(const struct server_lane *lane, const struct model_control_request *request, struct error *error)
{
	enum status status = refuse_repository_name(request->repository_name, error);

	if (status == STATUS_OK && !lane->options->model_control) {
		status = error_set(error, STATUS_UNAVAILABLE,
				   "explicit model load / unload is not allowed if polling is enabled");
	}
	return status;
}

static enum status
set_files(struct control *control, const struct load_body *body, struct error *error)
{
	struct repository_file *files = arena_array(&control->arena, body->file_count, sizeof(*files));

	if (files == NULL) {
		return error_set(error, STATUS_UNAVAILABLE, "no memory for the request");
	}
	for (size_t i = 0; i < body->file_count; i++) {
		files[i] = (struct repository_file){.path = body->files[i].path, .content = body->files[i].content};
	}
	control->command.files = files;
	control->command.file_count = body->file_count;
	return STATUS_OK;
}

static void
control_model(struct grpc_call *call, struct grpc_message message, bool unload)
{
	struct server_lane *lane = grpc_lane_of(call);
	struct control *control = memory_new(sizeof(*control));
	struct model_control_request request;
	struct error error;
	enum status status;

	control->lane = lane;
	control->call = call;
	control->message = message;
	arena_init(&control->arena, JSON_MAX);
	status = unload ? unload_request_decode(message.content, &request, &error)
			: load_request_decode(message.content, &control->arena, &request, &error);
	if (status == STATUS_OK) {
		status = check_control(lane, &request, &error);
	}
	if (status == STATUS_OK) {
		status = set_files(control, &request.body, &error);
	}
	if (status != STATUS_OK) {
		free_control(control);
		grpc_reply_error(call, &error);
		return;
	}
	grpc_call_set_state(call, control);
	control->command.loop = lane->loop;
	control->command.done = on_controlled;
	control->command.name = request.model_name;
	control->command.unload = unload;
	control->command.unload_dependents = request.unload_dependents;
	control->command.has_config = request.body.has_config;
	control->command.config = request.body.config;
	server_lane_hold(lane);
	repository_command(lane->options->repository, &control->command);
}

static void
on_load(struct grpc_call *call, struct grpc_message message)
{
	control_model(call, message, false);
}

static void
on_unload(struct grpc_call *call, struct grpc_message message)
{
	control_model(call, message, true);
}

const struct service_method grpc_model_load = {
	{.path = GRPC_MODEL_LOAD, .begin = grpc_check_access, .message = on_load, .cancelled = on_control_cancelled},
	PROTOCOL_MODEL_REPOSITORY,
};

const struct service_method grpc_model_unload = {
	{.path = GRPC_MODEL_UNLOAD,
	 .begin = grpc_check_access,
	 .message = on_unload,
	 .cancelled = on_control_cancelled},
	PROTOCOL_MODEL_REPOSITORY,
};

/* --- Settings --- */

void
grpc_log_settings(struct grpc_call *call, struct grpc_message message)
{
	struct log_settings settings = log_current();
	struct error error;
	struct buf json;
	enum status status = log_request_decode(message.content, &settings, &error);

	grpc_message_release(&message);
	if (status != STATUS_OK) {
		grpc_reply_error(call, &error);
		return;
	}
	log_configure(&settings);
	buf_init(&json, JSON_MAX);
	buf_text(&json, "{\"settings\":{\"log_file\":{\"string_param\":");
	buf_json_string(&json, bytes_text(grpc_lane_of(call)->options->log_file));
	buf_format(&json,
		   "},\"log_info\":{\"bool_param\":%s},\"log_warning\":{\"bool_param\":%s},"
		   "\"log_error\":{\"bool_param\":%s},\"log_verbose_level\":{\"uint32_param\":%d},"
		   "\"log_format\":{\"string_param\":\"%s\"}}}",
		   settings.info ? "true" : "false", settings.warning ? "true" : "false",
		   settings.error ? "true" : "false", settings.verbose, log_format_name(settings.format));
	grpc_reply_json(call, MESSAGE_LOG_SETTINGS, &json);
}

static enum status
check_trace(struct grpc_call *call, struct bytes content, struct error *error)
{
	struct bytes model;
	bool changes;
	enum status status = trace_request_decode(content, &model, &changes, error);

	if (status == STATUS_OK && model.length > 0 &&
	    model_table_entry(server_lane_table(grpc_lane_of(call)), model) == NULL) {
		status = error_set(error, STATUS_INVALID_ARGUMENT, "Request for unknown model : %.*s",
				   BYTES_ARGS(model));
	}
	if (status == STATUS_OK && changes) {
		status = error_set(error, STATUS_UNSUPPORTED, "tracing is not supported");
	}
	return status;
}

void
grpc_trace_setting(struct grpc_call *call, struct grpc_message message)
{
	struct error error;
	struct buf json;
	enum status status = check_trace(call, message.content, &error);

	grpc_message_release(&message);
	if (status != STATUS_OK) {
		grpc_reply_error(call, &error);
		return;
	}
	buf_init(&json, JSON_MAX);
	buf_text(&json, "{\"settings\":{\"trace_level\":{\"value\":[\"OFF\"]},\"trace_rate\":{\"value\":[\"1000\"]},"
			"\"trace_count\":{\"value\":[\"-1\"]},\"log_frequency\":{\"value\":[\"0\"]},"
			"\"trace_file\":{\"value\":[\"\"]},\"trace_mode\":{\"value\":[\"triton\"]}}}");
	grpc_reply_json(call, MESSAGE_TRACE_SETTINGS, &json);
}

/* --- Shared memory, which is not supported: there are no regions --- */

static void
reply_status(struct grpc_call *call, struct grpc_message *message, const char *kind)
{
	struct name_request request;
	struct error error;
	enum status status = name_request_decode(message->content, &request, &error);

	if (status == STATUS_OK && request.name.length > 0) {
		status = error_set(&error, STATUS_NOT_FOUND, "Unable to find %s shared memory region: '%.*s'", kind,
				   BYTES_ARGS(request.name));
	}
	grpc_message_release(message);
	if (status == STATUS_OK) {
		grpc_reply_empty(call);
	} else {
		grpc_reply_error(call, &error);
	}
}

void
grpc_system_memory_status(struct grpc_call *call, struct grpc_message message)
{
	reply_status(call, &message, "system");
}

void
grpc_cuda_memory_status(struct grpc_call *call, struct grpc_message message)
{
	reply_status(call, &message, "cuda");
}

void
grpc_shared_memory_unregister(struct grpc_call *call, struct grpc_message message)
{
	grpc_message_release(&message);
	grpc_reply_empty(call);
}

void
grpc_shared_memory_register(struct grpc_call *call, struct grpc_message message)
{
	grpc_message_release(&message);
	grpc_call_finish(call, GRPC_UNIMPLEMENTED, bytes_text("shared memory is not supported"));
}

void
grpc_cuda_memory_register(struct grpc_call *call, struct grpc_message message)
{
	struct name_request request;
	struct error error;

	if (name_request_decode(message.content, &request, &error) == STATUS_OK) {
		(void)error_set(&error, STATUS_INVALID_ARGUMENT,
				"failed to register CUDA shared memory region: '%.*s', GPUs not supported",
				BYTES_ARGS(request.name));
	}
	grpc_message_release(&message);
	grpc_reply_error(call, &error);
}
