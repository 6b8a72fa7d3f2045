#include "server/grpc_front.h"

#include "server/grpc_control.h"
#include "server/grpc_pass.h"

/* The path of a call that passes tells its group, if it is one of a method of ours. */
static void
check_access(struct grpc_call *call)
{
	struct bytes path = grpc_call_path(call);

	for (size_t i = 0; i < grpc_service_method_count; i++) {
		if (bytes_equal_text(path, grpc_service_methods[i]->path)) {
			grpc_check_access_to(call, ((const struct service_method *)grpc_service_methods[i])->protocol);
		}
	}
}

static void
on_begin(struct grpc_call *call)
{
	check_access(call);
	if (!grpc_call_is_over(call)) {
		(void)grpc_pass_begin(call, PASS_NO_INFERENCE); /* from now on the call belongs to the pass */
	}
}

const struct grpc_method grpc_front_other = {
	.is_client_streaming = true,
	.begin = on_begin,
};

/* --- Readiness --- */

typedef void (*unary)(struct grpc_call *call, struct grpc_message message);

static void
answer_ready(struct grpc_call *call, struct grpc_message message, unary own)
{
	if (grpc_lane_of(call)->options->readiness == FRONT_READY_OWN) {
		own(call, message);
	} else {
		grpc_pass_unary(call, message, PASS_NO_INFERENCE);
	}
}

static void
on_ready(struct grpc_call *call, struct grpc_message message)
{
	answer_ready(call, message, grpc_server_ready);
}

static void
on_health_check(struct grpc_call *call, struct grpc_message message)
{
	answer_ready(call, message, grpc_health_check);
}

static const struct service_method live = {
	{.path = GRPC_SERVICE "ServerLive", .begin = grpc_check_access, .message = grpc_server_live},
	PROTOCOL_HEALTH,
};
static const struct service_method ready = {
	{.path = GRPC_SERVER_READY, .begin = grpc_check_access, .message = on_ready},
	PROTOCOL_HEALTH,
};
static const struct service_method health = {
	{.path = GRPC_HEALTH_CHECK, .begin = grpc_check_access, .message = on_health_check},
	PROTOCOL_HEALTH,
};

const struct grpc_method *const grpc_front_methods[] = {
	&grpc_model_infer.method,
	&grpc_model_stream_infer.method,
	&live.method,
	&ready.method,
	&health.method,
	&grpc_front_statistics.method,
	&grpc_front_load.method,
	&grpc_front_unload.method,
};
const size_t grpc_front_method_count = sizeof(grpc_front_methods) / sizeof(*grpc_front_methods);
