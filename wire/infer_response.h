/*
 * Inference responses over gRPC as a client reads them: the message ModelInferResponse of grpc_service.proto.
 */
#ifndef HIPPOCAMP_WIRE_INFER_RESPONSE_H
#define HIPPOCAMP_WIRE_INFER_RESPONSE_H

#include "base/arena.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"

/* Views into the message and the arena, which must outlive it. */
struct infer_response {
	struct bytes model_name;
	struct bytes model_version;
	struct bytes id;
	struct parameter *parameters;
	size_t parameter_count;
	struct tensor *outputs;
	size_t output_count;
	bool has_more; /* something that is not known here: an unknown field, a parameter of a tensor */
};

/* The outputs' data are raw or typed contents. Whether they fit the shapes is not checked. */
enum status infer_response_decode(struct bytes message, struct arena *arena, struct infer_response *response,
				  struct error *error);

#endif
