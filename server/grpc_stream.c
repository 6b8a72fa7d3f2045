/*
 * ModelStreamInfer: requests of one stream run concurrently, and are answered in their order. An error does not end the
 * stream: it is a message of its own. With metadata triton_grpc_error: true, though, the failure of a model does end
 * it, with that status; requests that are refused do not, as in Triton.
 */
#include "base/container_of.h"
#include "base/memory.h"
#include "server/grpc_infer.h"
#include "server/grpc_pass.h"

#include <stdlib.h>

/* At so many requests in flight, no more are read until half of them are answered. */
#define WAITING_MAX 256

TAILQ_HEAD(inference_list, grpc_inference);

struct grpc_stream {
	struct grpc_call *call;
	struct inference_list waiting; /* not sent yet, in the order of the requests */
	struct inference_list sending;
	size_t waiting_count;
	bool is_paused;
	bool is_half_closed;
	bool is_stopping;     /* the server stops */
	bool ends_at_failure; /* of a model */
};

/* Ends the call once every request is answered and there will be no more. */
static void
end_if_done(struct grpc_stream *stream)
{
	struct grpc_inference *inference;

	if (!TAILQ_EMPTY(&stream->waiting) || (!stream->is_half_closed && !stream->is_stopping)) {
		return;
	}
	TAILQ_FOREACH (inference, &stream->sending, entry) {
		inference->stream = NULL;
	}
	grpc_call_finish(stream->call, stream->is_half_closed ? GRPC_OK : GRPC_UNAVAILABLE,
			 bytes_text(stream->is_half_closed ? "" : "the server stops: open another stream elsewhere"));
	free(stream);
}

/* The room sees to it that the client takes the answers that have been sent. */
static void
pause_or_resume(struct grpc_stream *stream)
{
	if (!stream->is_paused && stream->waiting_count >= WAITING_MAX) {
		stream->is_paused = true;
		grpc_call_pause(stream->call);
	} else if (stream->is_paused && stream->waiting_count <= WAITING_MAX / 2) {
		stream->is_paused = false;
		grpc_call_resume(stream->call);
	}
}

static void
on_released(struct grpc_output *output)
{
	struct grpc_inference *inference = container_of(output, struct grpc_inference, output);

	if (inference->stream != NULL) {
		TAILQ_REMOVE(&inference->stream->sending, inference, entry);
	}
	grpc_inference_free(inference);
}

static void
send_first(struct grpc_stream *stream)
{
	struct grpc_inference *inference = TAILQ_FIRST(&stream->waiting);

	TAILQ_REMOVE(&stream->waiting, inference, entry);
	TAILQ_INSERT_TAIL(&stream->sending, inference, entry);
	stream->waiting_count--;
	inference->call = NULL;
	inference->output.released = on_released;
	if (inference->status != STATUS_OK) {
		grpc_inference_slim(inference); /* many errors may wait to be sent */
	}
	grpc_call_send(stream->call, &inference->output);
}

/* An error becomes a message that carries the request's id. */
static void
encode_error(struct grpc_inference *inference)
{
	struct bytes failed_model = inference->was_accepted ? inference->decoded.model_name : bytes_make(NULL, 0);

	buf_clear(&inference->text);
	infer_message_encode_error(inference->request.id, failed_model, inference->error->text, &inference->text);
	inference->error_piece = buf_bytes(&inference->text);
	inference->output.pieces = &inference->error_piece;
	inference->output.count = 1;
	inference->output.is_compressed = false;
}

/* The call is over: frees the stream, and drops what has not been sent. */
static void
drop(struct grpc_stream *stream)
{
	struct grpc_inference *inference;

	while ((inference = TAILQ_FIRST(&stream->waiting)) != NULL) {
		bool is_answered = inference->is_answered;

		TAILQ_REMOVE(&stream->waiting, inference, entry);
		grpc_inference_cancel(inference);
		if (is_answered) { /* behind one that is not */
			grpc_inference_free(inference);
		}
	}
	TAILQ_FOREACH (inference, &stream->sending, entry) {
		inference->stream = NULL;
	}
	free(stream);
}

static void
end_with(struct grpc_stream *stream, const struct error *error)
{
	struct grpc_call *call = stream->call;
	struct error copy = *error; /* it goes with its request */

	drop(stream);
	grpc_reply_error(call, &copy);
}

/*
 * The first request that waits is for the server behind: it passes, and all that follow, also those that were begun
 * here, so that the answers come in the order of the requests.
 */
static void
pass(struct grpc_stream *stream, enum pass_reason reason)
{
	struct grpc_call *call = stream->call;
	struct grpc_pass *through = grpc_pass_begin(call, reason);
	struct grpc_inference *inference;

	if (through != NULL && stream->is_paused) { /* before the pass may pause it again */
		grpc_call_resume(call);
	}
	TAILQ_FOREACH (inference, &stream->waiting, entry) {
		if (through != NULL) {
			grpc_pass_message(through, grpc_message_share(&inference->message));
		}
	}
	if (through != NULL && stream->is_half_closed) {
		grpc_pass_half_close(through);
	}
	if (through != NULL && stream->is_stopping) {
		grpc_pass_stop(through);
	}
	drop(stream);
}

static void
on_answered(struct grpc_inference *inference)
{
	struct grpc_stream *stream = inference->stream;
	struct grpc_inference *first;

	inference->is_answered = true;
	if (inference->status != STATUS_OK && inference->status != STATUS_PASS) {
		encode_error(inference);
	}
	while ((first = TAILQ_FIRST(&stream->waiting)) != NULL && first->is_answered) {
		if (first->status == STATUS_PASS) {
			pass(stream, first->pass_reason);
			return;
		}
		if (stream->ends_at_failure && first->was_accepted && first->status != STATUS_OK) {
			end_with(stream, first->error);
			return;
		}
		send_first(stream);
	}
	pause_or_resume(stream);
	end_if_done(stream);
}

/*
 * The coding that the header fields state. They go with the first answer; a stream that passes later may bring messages
 * that the server behind has compressed.
 */
static enum coding
stated_coding(const struct grpc_call *call)
{
	enum coding ours = grpc_response_coding(call);
	bool may_pass = grpc_lane_of(call)->grpc_upstream != NULL;

	return ours == CODING_IDENTITY && may_pass && grpc_call_accepts(call, CODING_GZIP) ? CODING_GZIP : ours;
}

static void
on_begin(struct grpc_call *call)
{
	struct grpc_stream *stream;

	grpc_check_access(call);
	if (grpc_call_is_over(call)) {
		return;
	}
	stream = memory_new(sizeof(*stream));
	TAILQ_INIT(&stream->waiting);
	TAILQ_INIT(&stream->sending);
	stream->call = call;
	stream->ends_at_failure = bytes_equal_text(grpc_call_metadata(call, "triton_grpc_error"), "true");
	grpc_call_set_state(call, stream);
	grpc_call_set_coding(call, stated_coding(call));
}

static void
on_message(struct grpc_call *call, struct grpc_message message)
{
	struct grpc_stream *stream = grpc_call_state(call);
	struct grpc_inference *inference = grpc_inference_new(call);

	inference->answered = on_answered;
	inference->stream = stream;
	inference->is_stream = true;
	inference->coding = grpc_response_coding(call);
	TAILQ_INSERT_TAIL(&stream->waiting, inference, entry);
	stream->waiting_count++;
	pause_or_resume(stream);
	grpc_inference_start(inference, message);
}

static void
on_half_close(struct grpc_call *call)
{
	struct grpc_stream *stream = grpc_call_state(call);

	stream->is_half_closed = true;
	end_if_done(stream);
}

static void
on_cancelled(struct grpc_call *call)
{
	drop(grpc_call_state(call));
}

static void
on_stopping(struct grpc_call *call)
{
	struct grpc_stream *stream = grpc_call_state(call);

	stream->is_stopping = true;
	end_if_done(stream);
}

const struct service_method grpc_model_stream_infer = {
	{.path = "/inference.GRPCInferenceService/ModelStreamInfer",
	 .is_client_streaming = true,
	 .begin = on_begin,
	 .message = on_message,
	 .half_close = on_half_close,
	 .cancelled = on_cancelled,
	 .stopping = on_stopping,
	 .alignment_point = infer_message_alignment_point},
	PROTOCOL_INFERENCE,
};
