/*
 * ONNX Runtime's shared library, loaded when the first model needs it: a server without ONNX models stays small.
 * Room-private: shows ONNX Runtime's types.
 */
#ifndef HIPPOCAMP_BACKENDS_ONNXRUNTIME_LIBRARY_H
#define HIPPOCAMP_BACKENDS_ONNXRUNTIME_LIBRARY_H

#include "base/status.h"
#include "base/tensor.h"

#include <onnxruntime_c_api.h>

struct onnxruntime {
	const OrtApi *api;
	OrtEnv *environment;
	OrtMemoryInfo *memory; /* plain CPU memory */
	OrtAllocator *allocator;
	const char *version;
};

/* Loads it once for the process and never unloads it; thread-safe. NULL on failure; `error` then says what to do. */
const struct onnxruntime *onnxruntime_get(struct error *error);

/* Turns a failed OrtStatus into our error and releases it. NULL is success. */
enum status onnxruntime_check(const struct onnxruntime *runtime, OrtStatus *failed, struct error *error);

ONNXTensorElementDataType onnxruntime_type(enum datatype datatype);
enum datatype onnxruntime_datatype(ONNXTensorElementDataType type); /* DATATYPE_INVALID for types that Triton lacks */

#endif
