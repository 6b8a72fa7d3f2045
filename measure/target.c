#include "measure/target.h"

#include "base/memory.h"
#include "base/protobuf.h"
#include "wire/infer_request.h"
#include "wire/model_config.h"
#include "wire/service_message.h"
#include "wire/upstream_body.h"

#include <stdlib.h>

#define ANSWER_MAX ((size_t)64 << 20)
#define SERVICE "/inference.GRPCInferenceService/"

/* One thing that a server tells of a model. */
struct topic {
	const char *suffix; /* of the path of HTTP */
	const char *method; /* of gRPC */
	enum service_message message;
};

static const struct topic metadata_topic = {"", SERVICE "ModelMetadata", MESSAGE_MODEL_METADATA};
static const struct topic config_topic = {"/config", SERVICE "ModelConfig", MESSAGE_MODEL_CONFIG};
static const struct topic statistics_topic = {"/stats", SERVICE "ModelStatistics", MESSAGE_MODEL_STATISTICS};

/* --- Asking --- */

static void
write_http(const struct target *target, const struct topic *topic, struct buf *head)
{
	buf_text(head, "GET ");
	buf_append(head, client_path(target->client));
	buf_text(head, "/v2/models/");
	http1_percent_encode(head, target->name);
	if (target->version.length > 0) {
		buf_text(head, "/versions/");
		http1_percent_encode(head, target->version);
	}
	buf_text(head, topic->suffix);
	buf_text(head, " HTTP/1.1\r\nHost: ");
	buf_append(head, client_host(target->client));
	buf_text(head, "\r\n\r\n");
}

/* All three requests have the model's name and version in the same fields. */
static void
write_grpc(const struct target *target, struct buf *message)
{
	buf_append(message, bytes_make((const uint8_t[INFER_REQUEST_PREFIX]){0}, INFER_REQUEST_PREFIX));
	protobuf_put_text(message, 1, target->name);
	protobuf_put_text(message, 2, target->version);
	if (buf_ok(message)) {
		infer_request_prefix((uint32_t)message->length - INFER_REQUEST_PREFIX, message->at);
	}
}

/* Gives the reply as JSON. */
static enum status
take_reply(const struct topic *topic, enum measure_protocol protocol, struct bytes body, struct buf *json,
	   struct error *error)
{
	if (protocol == MEASURE_HTTP) {
		buf_append(json, body);
		return STATUS_OK;
	}
	if (body.length < INFER_REQUEST_PREFIX) {
		return error_set(error, STATUS_UNAVAILABLE, "the response is no message");
	}
	return service_message_decode(topic->message, bytes_skip(body, INFER_REQUEST_PREFIX), json, error);
}

static enum status
ask(struct target *target, const struct topic *topic, struct buf *json, struct error *error)
{
	enum measure_protocol protocol = client_protocol(target->client);
	struct client_call call = {.method = bytes_text(topic->method)};
	struct bytes piece;
	struct buf text;
	enum status status;

	buf_init(&text, ANSWER_MAX);
	if (protocol == MEASURE_HTTP) {
		write_http(target, topic, &text);
		call.head = buf_bytes(&text);
	} else {
		write_grpc(target, &text);
		piece = buf_bytes(&text);
		call.pieces = &piece;
		call.piece_count = 1;
	}
	status = client_ask(target->loop, target->client, &call, error);
	if (status == STATUS_OK) {
		status = take_reply(topic, protocol, buf_bytes(&call.body), json, error);
	}
	client_call_free(&call);
	buf_fini(&text);
	return status;
}

/* --- The model --- */

/* Removes the {"config": …} that gRPC's message is around the configuration. */
static struct bytes
unwrap_config(struct bytes json)
{
	static const char before[] = "{\"config\":";

	if (!bytes_starts_with(json, before)) {
		return json;
	}
	return bytes_make(json.at + sizeof(before) - 1, json.length - sizeof(before));
}

static enum status
read_model(struct target *target, struct bytes metadata, struct bytes config, struct error *error)
{
	struct upstream_model_document document = {.name = target->name, .metadata = metadata, .config = config};
	struct buf json;
	bool usable;
	enum status status;

	buf_init(&json, ANSWER_MAX);
	status = upstream_model_convert(&document, &json, &target->is_cached, error);
	if (status == STATUS_OK && !target->is_cached) {
		document.cached = true; /* to be read all the same */
		status = upstream_model_convert(&document, &json, &usable, error);
		if (status == STATUS_OK && !usable) {
			status = error_set(error, STATUS_UNSUPPORTED,
					   "it has sequences, is decoupled, or has shape tensors or ragged batches: "
					   "such models are not measured");
		}
	}
	if (status == STATUS_OK) {
		status = model_config_parse_json(buf_bytes(&json), &target->config, error);
	}
	buf_fini(&json);
	return status;
}

enum status
target_open(struct target *target, struct error *error)
{
	struct error ignored;
	struct buf metadata;
	struct buf config;
	struct buf statistics;
	enum status status;

	buf_init(&metadata, ANSWER_MAX);
	buf_init(&config, ANSWER_MAX);
	buf_init(&statistics, ANSWER_MAX);
	status = ask(target, &metadata_topic, &metadata, error);
	if (status == STATUS_OK && ask(target, &config_topic, &config, &ignored) != STATUS_OK) {
		buf_clear(&config); /* the server has no such extension */
	}
	if (status == STATUS_OK) {
		status = read_model(target, buf_bytes(&metadata), unwrap_config(buf_bytes(&config)), error);
	}
	target->has_statistics =
		status == STATUS_OK && ask(target, &statistics_topic, &statistics, &ignored) == STATUS_OK;
	buf_fini(&metadata);
	buf_fini(&config);
	buf_fini(&statistics);
	return status;
}

void
target_close(struct target *target)
{
	model_config_fini(&target->config);
}

enum status
target_statistics(struct target *target, struct model_statistics *statistics, struct error *error)
{
	struct buf json;
	enum status status = STATUS_OK;

	*statistics = (struct model_statistics){0};
	if (!target->has_statistics) {
		return STATUS_OK;
	}
	buf_init(&json, ANSWER_MAX);
	status = ask(target, &statistics_topic, &json, error);
	if (status == STATUS_OK) {
		status = model_statistics_decode(buf_bytes(&json), statistics, error);
	}
	buf_fini(&json);
	return status;
}
