/* ModelStatistics in front of another server: its own, with what the cache has answered. */
#include "base/memory.h"
#include "server/front.h"
#include "server/front_statistics.h"
#include "server/grpc_front.h"
#include "server/grpc_pass.h"

#include <stdlib.h>

#define TARGET_MAX ((size_t)16 * 1024)

struct statistics_call {
	struct front_statistics statistics; /* first */
	struct grpc_call *call;
	struct grpc_message message;
	struct buf target;
};

static void
fini(struct statistics_call *this)
{
	front_statistics_fini(&this->statistics);
	grpc_message_release(&this->message);
	buf_fini(&this->target);
	free(this);
}

static void
on_done(struct front_statistics *statistics, bool good)
{
	struct statistics_call *this = (struct statistics_call *)statistics;
	struct grpc_call *call = this->call;
	struct error error;
	struct buf text;

	buf_init(&text, JSON_MAX);
	good = good && service_message_encode(MESSAGE_MODEL_STATISTICS, buf_bytes(&statistics->json), &text, &error) ==
			       STATUS_OK;
	grpc_call_set_state(call, NULL);
	if (good) {
		grpc_reply(call, &text);
	} else {
		buf_fini(&text);
		grpc_pass_unary(call, grpc_message_share(&this->message), PASS_NO_INFERENCE);
	}
	fini(this);
}

static void
on_cancelled(struct grpc_call *call)
{
	struct statistics_call *this = grpc_call_state(call);

	if (this != NULL) { /* its message has come */
		front_statistics_cancel(&this->statistics);
		fini(this);
	}
}

/* The path of HTTP for the same. False: there is none. */
static bool
write_target(struct bytes message, struct buf *target)
{
	struct name_request request;
	struct error error;

	if (name_request_decode(message, &request, &error) != STATUS_OK ||
	    (request.name.length == 0 && request.version.length > 0)) {
		return false;
	}
	buf_text(target, "/v2/models/");
	if (request.name.length > 0) {
		http1_percent_encode(target, request.name);
		buf_byte(target, '/');
	}
	if (request.version.length > 0) {
		buf_text(target, "versions/");
		http1_percent_encode(target, request.version);
		buf_byte(target, '/');
	}
	buf_text(target, "stats");
	return buf_ok(target);
}

static void
on_message(struct grpc_call *call, struct grpc_message message)
{
	struct statistics_call *this = memory_new(sizeof(*this));

	this->call = call;
	this->message = message;
	this->statistics.lane = grpc_lane_of(call);
	this->statistics.done = on_done;
	buf_init(&this->target, TARGET_MAX);
	if (!front_is_anonymous_call(this->statistics.lane->options, call) ||
	    !write_target(message.content, &this->target)) {
		grpc_pass_unary(call, grpc_message_share(&this->message), PASS_NO_INFERENCE);
		fini(this);
		return;
	}
	grpc_call_set_state(call, this);
	front_statistics_start(&this->statistics, buf_bytes(&this->target));
}

const struct service_method grpc_front_statistics = {
	{.path = GRPC_MODEL_STATISTICS, .begin = grpc_check_access, .message = on_message, .cancelled = on_cancelled},
	PROTOCOL_STATISTICS,
};
