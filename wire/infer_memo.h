/*
 * What decoding the JSON of recent inference requests gave, for requests with the same JSON, byte for byte: that of
 * requests whose tensors are binary tells names, datatypes and shapes, which hardly change from one to the next.
 * Decoding is a function of these bytes alone, so that it need not be done again. Owned by one thread; what it gives
 * out is reference-counted and may go to others.
 */
#ifndef HIPPOCAMP_WIRE_INFER_MEMO_H
#define HIPPOCAMP_WIRE_INFER_MEMO_H

#include "wire/infer_body.h"

struct infer_memo;

struct infer_memo *infer_memo_new(void);
void infer_memo_free(struct infer_memo *memo); /* NULL: none */

/* As infer_body_decode, with the same result. `inputs` is the caller's own; what else *body points to is not written
 * to. */
enum status infer_memo_decode(struct infer_memo *memo, struct bytes json, struct bytes binary, struct bytes model_name,
			      struct arena *arena, struct infer_body *body, struct error *error);

#endif
