/*
 * One inference over gRPC: a unary call's, or one of a stream's. Room-private.
 *
 * It owns its message and all memory of the request, so that it may outlive its call: the engine answers a cancelled
 * request, too.
 *
 * In front of another server, a request that is not to be answered here, or whose answer is an error, has the status
 * STATUS_PASS: its message is to be sent there as it is.
 */
#ifndef HIPPOCAMP_SERVER_GRPC_INFER_H
#define HIPPOCAMP_SERVER_GRPC_INFER_H

#include "server/front.h"
#include "server/grpc_service.h"
#include "wire/infer_message.h"

struct grpc_inference {
	struct inference_request request; /* first */
	struct grpc_output output;
	struct server_lane *lane;
	struct grpc_call *call; /* NULL: cancelled, or answered */
	/* Called when the answer, or `error`, is there: `output` has the message. The callee sends or frees it. */
	void (*answered)(struct grpc_inference *inference);
	struct grpc_message message;
	struct infer_message decoded;
	struct arena arena;
	struct buf text; /* of the response but for its tensors */
	struct error *error;
	enum status status;
	enum pass_reason pass_reason; /* of STATUS_PASS */
	bool was_accepted;	      /* by the engine: an error is of its run, none of the request */

	/* Of a stream. */
	struct grpc_stream *stream; /* NULL: none, or cancelled */
	TAILQ_ENTRY(grpc_inference) entry;
	bool is_answered;
	bool is_stream;
	struct bytes error_piece;

	/* Private. */
	bool is_running; /* in the engine, which can cancel it */
	struct bytes cache_control;
	struct front_fields fields; /* see front.h */
	struct front_fields via;
	bool is_circle;	     /* see infer_refuse_circle */
	bool has_parameters; /* of the client's own */
	struct offload_work work;
	struct blob *block; /* holds the inputs if not the message */
	struct infer_reply_output *outputs;
	size_t output_count;
	struct bytes *pieces;
	enum coding coding; /* of the response */
	struct blob *packed;
	struct buf cache_status;
	size_t charged;
	uint64_t start_ns; /* for the log; 0: not logged */
	struct grpc_inference *next_spare;
};

/* Starts the request in `message`, which it takes over. `answered` may be called before this returns. */
void grpc_inference_start(struct grpc_inference *inference, struct grpc_message message);

/* Makes one for the call; `answered` and, for a stream, `stream` are to be set. */
struct grpc_inference *grpc_inference_new(struct grpc_call *call);

/* Frees what an encoded answer does not need: the request. */
void grpc_inference_slim(struct grpc_inference *inference);

/* Once answered. */
void grpc_inference_free(struct grpc_inference *inference);

/* The call is over: nobody waits for the answer. Frees the inference, now or later; not one that is answered. */
void grpc_inference_cancel(struct grpc_inference *inference);

/* The coding of responses in this call. */
enum coding grpc_response_coding(const struct grpc_call *call);

/* Frees those that a lane keeps for reuse. */
void grpc_inferences_fini(struct server_lane *lane);

#endif
