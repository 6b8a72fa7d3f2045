/* A decoded JSON that several requests share: see infer_memo.h. Immutable. Room-private. */
#ifndef HIPPOCAMP_WIRE_INFER_DOCUMENT_H
#define HIPPOCAMP_WIRE_INFER_DOCUMENT_H

#include "wire/infer_body.h"

#include <stdatomic.h>

struct infer_document {
	atomic_uint references;
	struct bytes json;
	size_t binary_length; /* of all tensors together */
	size_t *offsets;      /* of the inputs' data behind the JSON */
	struct arena arena;
	struct infer_body body; /* but for the data of its inputs, which are another request's */
	bool is_plain;
};

void infer_document_unref(struct infer_document *document); /* NULL: none */

#endif
