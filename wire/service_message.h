/*
 * The other messages of grpc_service.proto. Requests are read into plain structs, views into the message. Responses are
 * made from JSON, that of the HTTP endpoint of the same purpose, by protobuf's JSON mapping. Malformed requests are
 * STATUS_INTERNAL.
 */
#ifndef HIPPOCAMP_WIRE_SERVICE_MESSAGE_H
#define HIPPOCAMP_WIRE_SERVICE_MESSAGE_H

#include "base/buf.h"
#include "wire/admin_body.h"

/* A request without fields. */
enum status empty_request_decode(struct bytes message, struct error *error);

/* A request with `name` and `version` in fields 1 and 2: of a model, or with `name` alone of a region. */
struct name_request {
	struct bytes name;
	struct bytes version;
};
enum status name_request_decode(struct bytes message, struct name_request *request, struct error *error);

struct index_request {
	struct bytes repository_name;
	bool ready;
};
enum status index_request_decode(struct bytes message, struct index_request *request, struct error *error);

struct model_control_request {
	struct bytes repository_name;
	struct bytes model_name;
	struct load_body body;
	bool unload_dependents;
};
enum status load_request_decode(struct bytes message, struct arena *arena, struct model_control_request *request,
				struct error *error);
enum status unload_request_decode(struct bytes message, struct model_control_request *request, struct error *error);

/* Of TraceSettingRequest: *changes says whether it has settings. */
enum status trace_request_decode(struct bytes message, struct bytes *model_name, bool *changes, struct error *error);

/* Of LogSettingsRequest: changes those of `settings` that it names. */
enum status log_request_decode(struct bytes message, struct log_settings *settings, struct error *error);

enum service_message {
	MESSAGE_SERVER_METADATA,
	MESSAGE_MODEL_METADATA,
	MESSAGE_MODEL_CONFIG,
	MESSAGE_MODEL_STATISTICS,
	MESSAGE_REPOSITORY_INDEX,
	MESSAGE_TRACE_SETTINGS,
	MESSAGE_LOG_SETTINGS,
};

/* Appends the response to `out`. */
enum status service_message_encode(enum service_message type, struct bytes json, struct buf *out, struct error *error);

/* The other way round: appends the response as JSON. */
enum status service_message_decode(enum service_message type, struct bytes message, struct buf *json,
				   struct error *error);

/* The FileDescriptorSet of all services' files, serialized, for reflection. Static. */
struct bytes service_descriptors(void);

#endif
