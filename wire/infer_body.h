/*
 * The body of a KServe v2 inference request over HTTP: a JSON object, and behind it the bytes of the tensors whose
 * `binary_data_size` parameter says so (Triton's binary tensor extension).
 *
 * Decoding is strict where Triton is strict and uses its texts; what it takes without complaint (nested or flat data,
 * unknown members, text/plain) is taken here too. It knows nothing of the model but its name.
 */
#ifndef HIPPOCAMP_WIRE_INFER_BODY_H
#define HIPPOCAMP_WIRE_INFER_BODY_H

#include "base/arena.h"
#include "base/parameter.h"
#include "base/status.h"
#include "base/tensor.h"

struct infer_body_output {
	struct bytes name;
	bool binary;
	uint32_t classification; /* 0: the tensor itself */
};

/* Views into the body, the arena and `document`, all of which must outlive it. */
struct infer_body {
	struct bytes id;
	struct tensor *inputs;
	size_t input_count;
	struct infer_body_output *outputs;
	size_t output_count;	      /* 0: all of the model's */
	bool binary_by_default;	      /* for outputs that are not listed */
	struct parameter *parameters; /* all but binary_data_output */
	size_t parameter_count;
	void *document;
};

/* About how many bytes decoding `json` takes, document and tensors, in proportion to the values in it. */
size_t infer_body_memory(struct bytes json);

/* `json` and `binary` are the two parts of the body. On failure nothing is left to free. */
enum status infer_body_decode(struct bytes json, struct bytes binary, struct bytes model_name, struct arena *arena,
			      struct infer_body *body, struct error *error);

/* Copies what lies in the document and frees that: a long body's is many times its size. False without memory. */
bool infer_body_detach(struct infer_body *body, struct arena *arena);
void infer_body_fini(struct infer_body *body);

#endif
