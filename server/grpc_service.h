/*
 * The gRPC front end: inference.GRPCInferenceService (wire/grpc_service.proto), health and reflection, on the engine
 * that HTTP uses. Room-private.
 *
 * A call's context is the server_lane of its loop.
 */
#ifndef HIPPOCAMP_SERVER_GRPC_SERVICE_H
#define HIPPOCAMP_SERVER_GRPC_SERVICE_H

#include "grpc/grpc.h"
#include "server/exchange.h"
#include "wire/service_message.h"

#define JSON_MAX ((size_t)2 << 30) /* for grpc_reply_json */

#define GRPC_SERVICE "/inference.GRPCInferenceService/"
#define GRPC_HEALTH "/grpc.health.v1.Health/"
#define GRPC_SERVER_READY GRPC_SERVICE "ServerReady"
#define GRPC_HEALTH_CHECK GRPC_HEALTH "Check"
#define GRPC_HEALTH_WATCH GRPC_HEALTH "Watch"
#define GRPC_MODEL_STATISTICS GRPC_SERVICE "ModelStatistics"
#define GRPC_MODEL_LOAD GRPC_SERVICE "RepositoryModelLoad"
#define GRPC_MODEL_UNLOAD GRPC_SERVICE "RepositoryModelUnload"

extern const struct grpc_method *const grpc_service_methods[];
extern const size_t grpc_service_method_count;

/* A method, and the group that --grpc-restricted-protocol names it by. */
struct service_method {
	struct grpc_method method; /* first */
	enum grpc_protocol protocol;
};

/* For `begin`: refuses the call if its group is restricted and it lacks the key. */
void grpc_check_access(struct grpc_call *call);

void grpc_check_access_to(struct grpc_call *call, enum grpc_protocol protocol);

static inline struct server_lane *
grpc_lane_of(const struct grpc_call *call)
{
	return grpc_call_context(call);
}

enum grpc_code grpc_code_of(enum status status);

/* --- Replies of calls with one response, which is made at once --- */

/* Sends `text` as the response message and ends the call; takes over the buffer. */
void grpc_reply(struct grpc_call *call, struct buf *text);
void grpc_reply_empty(struct grpc_call *call);
void grpc_reply_error(struct grpc_call *call, const struct error *error);

/* Makes the response of that type from JSON; frees the buffer. */
void grpc_reply_json(struct grpc_call *call, enum service_message type, struct buf *json);

/* --- The methods, by file --- */

extern const struct service_method grpc_model_infer;
extern const struct service_method grpc_model_stream_infer;

void grpc_server_live(struct grpc_call *call, struct grpc_message message);
void grpc_server_ready(struct grpc_call *call, struct grpc_message message);
void grpc_model_ready(struct grpc_call *call, struct grpc_message message);
void grpc_server_metadata(struct grpc_call *call, struct grpc_message message);
void grpc_model_metadata(struct grpc_call *call, struct grpc_message message);
void grpc_model_config(struct grpc_call *call, struct grpc_message message);
void grpc_model_statistics(struct grpc_call *call, struct grpc_message message);

void grpc_repository_index(struct grpc_call *call, struct grpc_message message);
extern const struct service_method grpc_model_load;
extern const struct service_method grpc_model_unload;
void grpc_trace_setting(struct grpc_call *call, struct grpc_message message);
void grpc_log_settings(struct grpc_call *call, struct grpc_message message);
void grpc_system_memory_status(struct grpc_call *call, struct grpc_message message);
void grpc_cuda_memory_status(struct grpc_call *call, struct grpc_message message);
void grpc_shared_memory_register(struct grpc_call *call, struct grpc_message message);
void grpc_cuda_memory_register(struct grpc_call *call, struct grpc_message message);
void grpc_shared_memory_unregister(struct grpc_call *call, struct grpc_message message);

void grpc_health_check(struct grpc_call *call, struct grpc_message message);
void grpc_health_list(struct grpc_call *call, struct grpc_message message);
extern const struct service_method grpc_health_watch;
void grpc_health_changed(struct server_lane *lane); /* tells the watchers; call once a second */

extern const struct service_method grpc_reflection;
extern const struct service_method grpc_reflection_alpha;

#endif
