/* The memory of messages that have been received. */
#include "grpc/internal.h"

#include <stdlib.h>

void
grpc_message_release(struct grpc_message *message)
{
	blob_unref(message->block);
	if (message->charged > 0) {
		budget_give(message->budget, message->charged);
	}
	*message = (struct grpc_message){0};
}

void
received_free(struct received *received)
{
	grpc_message_release(&received->message);
	free(received);
}

void
received_drop(struct grpc_call *call)
{
	if (call->incoming != NULL) {
		received_free(call->incoming);
		call->incoming = NULL;
	}
	while (!STAILQ_EMPTY(&call->received)) {
		struct received *received = STAILQ_FIRST(&call->received);

		STAILQ_REMOVE_HEAD(&call->received, entry);
		received_free(received);
	}
	if (call->inflation != NULL) {
		call->inflation->call = NULL;
		call->inflation = NULL;
	}
}

struct grpc_message
grpc_message_share(struct grpc_message *message)
{
	struct grpc_message other = *message;

	other.block = blob_ref(message->block);
	message->charged = 0;
	return other;
}
