#include "server/grpc_service.h"

#include <stdio.h>

/* --- Replies --- */

enum grpc_code
grpc_code_of(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return GRPC_OK;
	case STATUS_INTERNAL:
		return GRPC_INTERNAL;
	case STATUS_NOT_FOUND:
		return GRPC_NOT_FOUND;
	case STATUS_INVALID_ARGUMENT:
		return GRPC_INVALID_ARGUMENT;
	case STATUS_UNAVAILABLE:
	case STATUS_QUEUE_FULL:
		return GRPC_UNAVAILABLE;
	case STATUS_UNSUPPORTED:
		return GRPC_UNIMPLEMENTED;
	case STATUS_ALREADY_EXISTS:
		return GRPC_ALREADY_EXISTS;
	case STATUS_CANCELLED:
		return GRPC_CANCELLED;
	case STATUS_PASS:	/* never leaves the front */
	case STATUS_NOT_CACHED: /* a retry would not help, unlike one after UNAVAILABLE */
		return GRPC_FAILED_PRECONDITION;
	case STATUS_UNKNOWN:
		break;
	}
	return GRPC_UNKNOWN;
}

void
grpc_reply(struct grpc_call *call, struct buf *text)
{
	if (!buf_ok(text)) {
		buf_fini(text);
		grpc_call_finish(call, GRPC_UNAVAILABLE, bytes_text("no memory for the response"));
		return;
	}
	grpc_call_send_text(call, text, false);
	grpc_call_finish(call, GRPC_OK, bytes_make(NULL, 0));
}

void
grpc_reply_empty(struct grpc_call *call)
{
	struct buf empty;

	buf_init(&empty, 0);
	grpc_reply(call, &empty);
}

void
grpc_reply_error(struct grpc_call *call, const struct error *error)
{
	grpc_call_finish(call, grpc_code_of(error->status), bytes_text(error->text));
}

void
grpc_reply_json(struct grpc_call *call, enum service_message type, struct buf *json)
{
	struct buf text;
	struct error error;
	enum status status;

	buf_init(&text, SIZE_MAX / 2);
	status = service_message_encode(type, buf_bytes(json), &text, &error);
	buf_fini(json);
	if (status == STATUS_OK) {
		grpc_reply(call, &text);
	} else {
		buf_fini(&text);
		grpc_reply_error(call, &error);
	}
}

/* --- Access --- */

void
grpc_check_access_to(struct grpc_call *call, enum grpc_protocol protocol)
{
	const struct server_options *options = grpc_lane_of(call)->options;
	char text[256];

	for (size_t i = 0; i < options->restriction_count; i++) {
		const struct grpc_restriction *restriction = &options->restrictions[i];

		if ((restriction->protocols & (1U << protocol)) != 0 &&
		    !bytes_equal_text(grpc_call_metadata(call, restriction->key), restriction->value)) {
			(void)snprintf(text, sizeof(text), "This protocol is restricted, expecting header '%s'",
				       restriction->key);
			grpc_call_finish(call, GRPC_UNAVAILABLE, bytes_text(text));
			return;
		}
	}
}

void
grpc_check_access(struct grpc_call *call)
{
	grpc_check_access_to(call, ((const struct service_method *)grpc_call_method(call))->protocol);
}
