/*
 * The body of a KServe v2 inference request over HTTP: a JSON object, then the data of the tensors that have a
 * `binary_data_size` parameter (Triton's binary tensor extension).
 *
 * The decoder is as strict as Triton, with Triton's error texts, and as lenient: it accepts nested or flat data,
 * unknown members and text/plain. It knows only the name of the model.
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
	uint32_t classification; /* classes to return; 0: the tensor itself */
};

struct infer_document;

/* Views into the body, the arena, `document` and `shared`, all of which must outlive it. */
struct infer_body {
	struct bytes id;
	struct tensor *inputs;
	size_t input_count;
	struct infer_body_output *outputs;
	size_t output_count;	      /* 0: all outputs of the model */
	bool binary_by_default;	      /* for outputs without `binary_data` */
	struct parameter *parameters; /* except binary_data_output */
	size_t parameter_count;
	bool wraps; /* an integer did not fit into its datatype; its low bytes were taken, as Triton does */
	void *document;
	struct infer_document *shared; /* what others were decoded to, too (infer_memo.h); NULL: nothing */
};

/* Estimates the bytes of memory that decoding `json` takes, for the document and the tensors. */
size_t infer_body_memory(struct bytes json);

/* `json` and `binary` are the two parts of the HTTP body. On failure there is nothing to free. */
enum status infer_body_decode(struct bytes json, struct bytes binary, struct bytes model_name, struct arena *arena,
			      struct infer_body *body, struct error *error);

/*
 * Does the request say nothing but what the decoder understands and an answer from elsewhere can fulfil: no unknown
 * member, no other parameter of a tensor, no classification? Before infer_body_detach.
 */
bool infer_body_is_plain(const struct infer_body *body);

/* The same, but classification is understood, too. Of a body that was decoded by infer_body_decode. */
bool infer_body_is_understood(const struct infer_body *body);

/* Copies what `body` uses of the document, then frees it: it may be many times as large as the JSON. False when memory
 * runs out; `body` is then unusable. */
bool infer_body_detach(struct infer_body *body, struct arena *arena);
void infer_body_fini(struct infer_body *body);

#endif
