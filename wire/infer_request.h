/*
 * Inference requests over gRPC as a client writes them: the message ModelInferRequest of grpc_service.proto.
 */
#ifndef HIPPOCAMP_WIRE_INFER_REQUEST_H
#define HIPPOCAMP_WIRE_INFER_REQUEST_H

#include "base/buf.h"
#include "wire/infer_body.h"

struct infer_request {
	struct bytes model_name;
	struct bytes model_version; /* empty: the server chooses */
	struct bytes id;
	const struct parameter *parameters;
	size_t parameter_count;
	const struct tensor *inputs;
	size_t input_count;
	const struct infer_body_output *outputs;
	size_t output_count; /* 0: all */
};

/* Appends all of the message but its tensors' data: for each input in turn, infer_request_data and the data follow. */
void infer_request_head(const struct infer_request *request, struct buf *out);

/* Appends what precedes the data of one tensor in raw_input_contents. */
void infer_request_data(size_t length, struct buf *out);

/* What precedes a message: gRPC over HTTP/2, "Length-Prefixed-Message". */
#define INFER_REQUEST_PREFIX 5
void infer_request_prefix(uint32_t length, uint8_t prefix[INFER_REQUEST_PREFIX]);

#endif
