#include "wire/infer_request.h"

#include "base/protobuf.h"
#include "wire/tensor_message.h"

/* Field numbers of grpc_service.proto. */
enum {
	REQUEST_MODEL_NAME = 1,
	REQUEST_MODEL_VERSION = 2,
	REQUEST_ID = 3,
	REQUEST_PARAMETERS = 4,
	REQUEST_INPUTS = 5,
	REQUEST_OUTPUTS = 6,
	REQUEST_RAW_INPUTS = 7
};
enum { OUTPUT_NAME = 1, OUTPUT_PARAMETERS = 2 };

/* An InferRequestedOutputTensor. */
static void
put_output(const struct infer_body_output *output, struct buf *out)
{
	const struct parameter classification = {.name = bytes_text("classification"),
						 .kind = PARAMETER_SIGNED,
						 .signed_number = output->classification};
	bool classifies = output->classification > 0;

	protobuf_put_tag(out, REQUEST_OUTPUTS, PROTOBUF_BYTES);
	protobuf_put_varint(out, message_text_size(output->name) +
					 (classifies ? message_parameter_size(&classification) : 0));
	protobuf_put_text(out, OUTPUT_NAME, output->name);
	if (classifies) {
		message_parameter_put(out, OUTPUT_PARAMETERS, &classification);
	}
}

void
infer_request_head(const struct infer_request *request, struct buf *out)
{
	protobuf_put_text(out, REQUEST_MODEL_NAME, request->model_name);
	protobuf_put_text(out, REQUEST_MODEL_VERSION, request->model_version);
	protobuf_put_text(out, REQUEST_ID, request->id);
	for (size_t i = 0; i < request->parameter_count; i++) {
		message_parameter_put(out, REQUEST_PARAMETERS, &request->parameters[i]);
	}
	for (size_t i = 0; i < request->input_count; i++) {
		message_tensor_put(out, REQUEST_INPUTS, &request->inputs[i]);
	}
	for (size_t i = 0; i < request->output_count; i++) {
		put_output(&request->outputs[i], out);
	}
}

void
infer_request_data(size_t length, struct buf *out)
{
	protobuf_put_tag(out, REQUEST_RAW_INPUTS, PROTOBUF_BYTES);
	protobuf_put_varint(out, length);
}

void
infer_request_prefix(uint32_t length, uint8_t prefix[INFER_REQUEST_PREFIX])
{
	prefix[0] = 0; /* not compressed */
	for (size_t i = 0; i < 4; i++) {
		prefix[1 + i] = (uint8_t)(length >> (24 - 8 * i));
	}
}
