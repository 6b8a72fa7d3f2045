/* Health and metadata of the server and of models, and statistics, over gRPC. */
#include "server/describe.h"
#include "server/grpc_service.h"
#include "wire/model_config.h"
#include "base/protobuf.h"

/* All three readiness messages have one boolean, in field 1. */
static void
reply_boolean(struct grpc_call *call, bool value)
{
	struct buf text;

	buf_init(&text, 16);
	protobuf_put_number(&text, 1, value);
	grpc_reply(call, &text);
}

/* Checks and releases a message without fields. False: an error has been replied. */
static bool
take_empty(struct grpc_call *call, struct grpc_message *message)
{
	struct error error;
	enum status status = empty_request_decode(message->content, &error);

	grpc_message_release(message);
	if (status != STATUS_OK) {
		grpc_reply_error(call, &error);
	}
	return status == STATUS_OK;
}

void
grpc_server_live(struct grpc_call *call, struct grpc_message message)
{
	if (take_empty(call, &message)) {
		reply_boolean(call, true);
	}
}

void
grpc_server_ready(struct grpc_call *call, struct grpc_message message)
{
	if (take_empty(call, &message)) {
		reply_boolean(call, server_lane_ready(grpc_lane_of(call)));
	}
}

/* Reads the request's name and version, and finds the model. Releases the message. */
static enum status
find_named(struct grpc_call *call, struct grpc_message *message, struct model **model, bool *has_version,
	   struct error *error)
{
	struct name_request request;
	enum status status = name_request_decode(message->content, &request, error);

	if (status == STATUS_OK) {
		status = find_model(server_lane_table(grpc_lane_of(call)), request.name, request.version, model, error);
	}
	*has_version = request.version.length > 0;
	grpc_message_release(message);
	return status;
}

/* The same. NULL: an error has been replied. */
static struct model *
requested_model(struct grpc_call *call, struct grpc_message *message, bool *has_version)
{
	struct model *model = NULL;
	struct error error;

	if (find_named(call, message, &model, has_version, &error) != STATUS_OK) {
		grpc_reply_error(call, &error);
		return NULL;
	}
	return model;
}

void
grpc_model_ready(struct grpc_call *call, struct grpc_message message)
{
	struct model *model;
	bool has_version;
	struct error error;
	enum status status = find_named(call, &message, &model, &has_version, &error);

	if (status == STATUS_OK || status == STATUS_NOT_FOUND) {
		reply_boolean(call, status == STATUS_OK);
	} else {
		grpc_reply_error(call, &error);
	}
}

void
grpc_server_metadata(struct grpc_call *call, struct grpc_message message)
{
	struct buf json;

	if (!take_empty(call, &message)) {
		return;
	}
	buf_init(&json, JSON_MAX);
	describe_server(grpc_lane_of(call)->options, &json);
	grpc_reply_json(call, MESSAGE_SERVER_METADATA, &json);
}

void
grpc_model_metadata(struct grpc_call *call, struct grpc_message message)
{
	bool has_version;
	struct model *model = requested_model(call, &message, &has_version);
	struct buf json;

	if (model != NULL) {
		buf_init(&json, JSON_MAX);
		describe_model(grpc_lane_of(call)->view.table, model, has_version, &json);
		grpc_reply_json(call, MESSAGE_MODEL_METADATA, &json);
	}
}

void
grpc_model_config(struct grpc_call *call, struct grpc_message message)
{
	bool has_version;
	struct model *model = requested_model(call, &message, &has_version);
	struct buf json;

	if (model != NULL) {
		buf_init(&json, JSON_MAX);
		buf_text(&json, "{\"config\":");
		model_config_print(&model->config, &json);
		buf_byte(&json, '}');
		grpc_reply_json(call, MESSAGE_MODEL_CONFIG, &json);
	}
}

void
grpc_model_statistics(struct grpc_call *call, struct grpc_message message)
{
	struct name_request request;
	struct buf json;
	struct error error;
	enum status status = name_request_decode(message.content, &request, &error);

	buf_init(&json, JSON_MAX);
	if (status == STATUS_OK) {
		status = describe_statistics(server_lane_table(grpc_lane_of(call)), request.name, request.version,
					     &json, &error);
	}
	grpc_message_release(&message);
	if (status == STATUS_OK) {
		grpc_reply_json(call, MESSAGE_MODEL_STATISTICS, &json);
	} else {
		buf_fini(&json);
		grpc_reply_error(call, &error);
	}
}
