/*
 * The JSON part of a KServe v2 inference response over HTTP. It only announces the binary tensors (`binary_data_size`);
 * the caller sends their bytes after it, in the same order, without copying them.
 */
#ifndef HIPPOCAMP_WIRE_INFER_REPLY_H
#define HIPPOCAMP_WIRE_INFER_REPLY_H

#include "base/buf.h"
#include "base/status.h"
#include "base/tensor.h"

struct infer_reply_output {
	struct tensor tensor;
	bool binary;
};

/* Returns the maximum length in bytes of the outputs' JSON data. */
size_t infer_reply_memory(const struct infer_reply_output *outputs, size_t count);

/* Adds `cache_status` to the reply's parameters unless it is empty. `model_version` empty: the model has none. */
enum status infer_reply_encode(struct bytes id, struct bytes model_name, struct bytes model_version,
			       struct bytes cache_status, const struct infer_reply_output *outputs, size_t count,
			       struct buf *json, struct error *error);

#endif
