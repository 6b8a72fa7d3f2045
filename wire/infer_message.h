/*
 * The messages of an inference over gRPC: ModelInferRequest, ModelInferResponse and ModelStreamInferResponse of
 * grpc_service.proto. Read and written by hand, so that tensors are not copied: raw_input_contents are used in place,
 * and the caller sends raw_output_contents from where they lie.
 */
#ifndef HIPPOCAMP_WIRE_INFER_MESSAGE_H
#define HIPPOCAMP_WIRE_INFER_MESSAGE_H

#include "wire/infer_body.h"
#include "wire/infer_reply.h"

struct infer_message {
	struct bytes model_name;
	struct bytes model_version;
	struct infer_body body; /* `document` and what concerns binary tensors are not used */
	size_t converted;	/* bytes of tensors that were made from typed contents, in the arena */
	/*
	 * The request says something that this decoder does not know or an answer from elsewhere cannot fulfil: an
	 * unknown field, a parameter of a tensor, a parameter given twice, classification.
	 */
	bool has_more;

	/* Private: the numbers of these fields. */
	size_t parameter_fields;
	size_t raw_fields;
};

/*
 * Reads the two fields that name the model, and the id, which an error message should carry. Malformed messages are
 * STATUS_INTERNAL here and below.
 */
enum status infer_message_name(struct bytes message, struct infer_message *out, struct error *error);

/* Reads the rest. Views into `message` and the arena; errors have Triton's texts. */
enum status infer_message_decode(struct bytes message, struct arena *arena, struct infer_message *out,
				 struct error *error);

/* Given the beginning of a message, returns the offset of its first raw tensor, or 0 if none is seen. */
size_t infer_message_alignment_point(struct bytes beginning);

/*
 * Encodes the response. pieces[0] and every other piece point into `text`, the rest are the outputs' data, uncopied.
 * `is_stream` wraps it as ModelStreamInferResponse with the parameter triton_final_response. `outputs` are all sent
 * raw. `pieces` has room for 2 * count + 1.
 */
struct infer_message_reply {
	struct bytes id;
	struct bytes model_name;
	struct bytes model_version; /* empty: the model has none */
	struct bytes cache_status;  /* empty: none */
	const struct infer_reply_output *outputs;
	size_t output_count;
	bool is_stream;
};
enum status infer_message_encode(const struct infer_message_reply *reply, struct buf *text, struct bytes *pieces,
				 size_t *piece_count, struct error *error);

/*
 * Encodes a ModelStreamInferResponse that carries an error and the request's id. If a model has run for it and failed,
 * its name is there, too, and triton_final_response; empty: the request was refused.
 */
void infer_message_encode_error(struct bytes id, struct bytes failed_model, const char *error_text, struct buf *out);

#endif
