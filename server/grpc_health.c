/* grpc.health.v1.Health. The whole server has one state, whatever service is asked for, as in Triton. */
#include "base/memory.h"
#include "server/grpc_service.h"
#include "base/protobuf.h"

#include <stdlib.h>

enum { SERVING = 1, NOT_SERVING = 2 };

/* A call of Watch. */
struct health_watch {
	TAILQ_ENTRY(health_watch) entry;
	struct grpc_call *call;
	int told; /* the state that was sent last */
};

static int
state_of(const struct server_lane *lane)
{
	return server_lane_ready(lane) ? SERVING : NOT_SERVING;
}

static void
put_state(struct buf *text, int state)
{
	buf_init(text, 256);
	protobuf_put_number(text, 1, (uint64_t)state);
}

void
grpc_health_check(struct grpc_call *call, struct grpc_message message)
{
	struct buf text;

	grpc_message_release(&message);
	put_state(&text, state_of(grpc_lane_of(call)));
	grpc_reply(call, &text);
}

void
grpc_health_list(struct grpc_call *call, struct grpc_message message)
{
	static const char *const services[] = {"", "inference.GRPCInferenceService", "grpc.health.v1.Health"};
	uint8_t state[2] = {1 << 3, (uint8_t)state_of(grpc_lane_of(call))}; /* a HealthCheckResponse */
	uint8_t room[64];
	struct buf text;

	grpc_message_release(&message);
	buf_init(&text, 256);
	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++) {
		struct buf entry = {.at = room, .capacity = sizeof(room), .maximum = sizeof(room)};

		protobuf_put_text(&entry, 1, bytes_text(services[i]));
		protobuf_put_bytes(&entry, 2, bytes_make(state, sizeof(state)));
		protobuf_put_bytes(&text, 1, buf_bytes(&entry));
	}
	grpc_reply(call, &text);
}

static void
tell(struct health_watch *watch, int state)
{
	struct buf text;

	watch->told = state;
	put_state(&text, state);
	grpc_call_send_text(watch->call, &text, false);
}

static void
on_watch(struct grpc_call *call, struct grpc_message message)
{
	struct server_lane *lane = grpc_lane_of(call);
	struct health_watch *watch = memory_new(sizeof(*watch));

	grpc_message_release(&message);
	watch->call = call;
	grpc_call_set_state(call, watch);
	TAILQ_INSERT_TAIL(&lane->health_watches, watch, entry);
	tell(watch, state_of(lane));
}

static void
on_watch_cancelled(struct grpc_call *call)
{
	struct server_lane *lane = grpc_lane_of(call);
	struct health_watch *watch = grpc_call_state(call);

	if (watch != NULL) {
		TAILQ_REMOVE(&lane->health_watches, watch, entry);
		free(watch);
	}
}

void
grpc_health_changed(struct server_lane *lane)
{
	int state = state_of(lane);
	struct health_watch *watch = TAILQ_FIRST(&lane->health_watches);

	while (watch != NULL) {
		struct health_watch *next = TAILQ_NEXT(watch, entry);

		if (watch->told != state) {
			tell(watch, state);
		}
		watch = next;
	}
}

static void
on_watch_stopping(struct grpc_call *call)
{
	struct health_watch *watch = grpc_call_state(call);

	if (watch != NULL) {
		tell(watch, NOT_SERVING);
	}
	on_watch_cancelled(call);
	grpc_call_finish(call, GRPC_UNAVAILABLE, bytes_text("the server stops"));
}

const struct service_method grpc_health_watch = {
	{.path = GRPC_HEALTH_WATCH,
	 .begin = grpc_check_access,
	 .message = on_watch,
	 .cancelled = on_watch_cancelled,
	 .stopping = on_watch_stopping},
	PROTOCOL_HEALTH,
};
