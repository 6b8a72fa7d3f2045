/*
 * What the requests and responses of an inference over gRPC have in common: tensors (InferInputTensor and
 * InferOutputTensor of grpc_service.proto, whose fields have the same numbers), and parameters, which are entries of a
 * map. Room-private.
 */
#ifndef HIPPOCAMP_WIRE_TENSOR_MESSAGE_H
#define HIPPOCAMP_WIRE_TENSOR_MESSAGE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"

/* Field numbers of ModelInferResponse. */
enum {
	RESPONSE_MODEL_NAME = 1,
	RESPONSE_MODEL_VERSION = 2,
	RESPONSE_ID = 3,
	RESPONSE_PARAMETERS = 4,
	RESPONSE_OUTPUTS = 5,
	RESPONSE_RAW = 6
};

struct message_decoder {
	struct arena *arena;
	struct error *error;
	struct bytes model_name; /* for error texts */
	bool has_more;		 /* out: something was read that is not known here, or given twice */
	size_t converted;	 /* out: bytes of tensors that were made from typed contents, in the arena */
};

/* The members of InferParameter's oneof, by the numbers of their fields. */
enum { CHOICE_NONE = 0, CHOICE_BOOL = 1, CHOICE_INT64 = 2, CHOICE_STRING = 3, CHOICE_DOUBLE = 4, CHOICE_UINT64 = 5 };

/* Reads an entry of a map of parameters: the last member of its oneof counts, *choice says which one it is. */
enum status message_parameter_read(struct message_decoder *decoder, struct bytes entry, struct parameter *parameter,
				   uint32_t *choice);

/* Appends one, as the field of that number. */
void message_parameter_put(struct buf *out, uint32_t field, const struct parameter *parameter);
size_t message_parameter_size(const struct parameter *parameter); /* with its tag, of a number below 16 */

/* Bytes of a text in a field with a number below 16; none if it is empty. */
size_t message_text_size(struct bytes text);

/* A tensor's name, datatype, shape and content type, and what else its message says. */
struct tensor_message {
	struct tensor tensor;
	struct bytes contents;
	bool has_contents;
	bool has_shared_memory;
};
enum status message_tensor_read(struct message_decoder *decoder, struct bytes message, struct tensor_message *out);

/* Makes the tensor's data of its typed contents. */
enum status message_contents_read(struct message_decoder *decoder, struct tensor_message *message);

/* Appends a tensor's message, but for its data, as the field of that number. */
void message_tensor_put(struct buf *out, uint32_t field, const struct tensor *tensor);

enum status message_no_memory(const struct message_decoder *decoder);

#endif
