/*
 * Inference requests over gRPC as a client writes them: the message ModelInferRequest of grpc_service.proto.
 */
#ifndef HIPPOCAMP_WIRE_INFER_REQUEST_H
#define HIPPOCAMP_WIRE_INFER_REQUEST_H

#include "base/buf.h"
#include "base/tensor.h"

/*
 * Appends all of the message but its tensors' data: `model_version` empty leaves the choice to the server. For each
 * input in turn, infer_request_data and the data follow.
 */
void infer_request_head(struct bytes model_name, struct bytes model_version, const struct tensor *inputs, size_t count,
			struct buf *out);

/* Appends what precedes the data of one tensor in raw_input_contents. */
void infer_request_data(size_t length, struct buf *out);

/* What precedes a message: gRPC over HTTP/2, "Length-Prefixed-Message". */
#define INFER_REQUEST_PREFIX 5
void infer_request_prefix(uint32_t length, uint8_t prefix[INFER_REQUEST_PREFIX]);

#endif
