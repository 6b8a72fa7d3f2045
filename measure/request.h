/*
 * Inference requests, ready to be sent: over HTTP head and body, over gRPC the message. Data of inputs are not copied.
 */
#ifndef HIPPOCAMP_MEASURE_REQUEST_H
#define HIPPOCAMP_MEASURE_REQUEST_H

#include "base/buf.h"
#include "measure/input.h"

enum measure_protocol { MEASURE_HTTP, MEASURE_GRPC };

/* What all requests of a measurement share; it and what it points to outlive them. */
struct request_form {
	enum measure_protocol protocol;
	struct bytes model_name;
	struct bytes model_version; /* empty: the server chooses */
	size_t batch;		    /* inferences in a request; 0: the model has no batch dimension */
	bool is_json;		    /* HTTP: tensors as JSON, both ways; else binary */
	const struct input_set *inputs;

	/* Of HTTP. */
	struct bytes host;   /* the Host field's value */
	struct bytes path;   /* that precedes the request's, without a slash at its end */
	struct bytes fields; /* further header fields, each with CRLF */
};

/* One request. Its owner zeroes it, and uses it again and again; the pieces are valid until the next request_make. */
struct request {
	const struct request_form *form;
	struct bytes head; /* HTTP: from the request line to the empty line */
	struct bytes *pieces;
	size_t piece_count;

	/* Internal. */
	struct buf head_room;
	struct buf message; /* JSON, or the message without its data */
	struct buf framing; /* gRPC: what precedes each tensor's data */
	struct buf data;    /* of tensors that are written as JSON */
	uint8_t *varied;    /* the first bytes of each inference's varied tensor */
	struct tensor *tensors;
	size_t *lengths; /* of each tensor's framing */
	bool is_made;	 /* once: what does not change stays */
};

void request_init(struct request *request, const struct request_form *form);
void request_fini(struct request *request);

/*
 * Makes the request with these inputs: form->batch numbers, one if that is 0. Inputs of one batch must have the same
 * shapes.
 */
enum status request_make(struct request *request, const uint64_t *numbers, struct error *error);

#endif
