/*
 * The bytes of an ONNX model: its file and those of its external data, each read whole and once into private memory, so
 * that later changes of the files on disk do not affect a model that is served. Room-private.
 *
 * The external data of the graph's own initializers is passed to ONNX Runtime as tensors in that memory
 * (AddExternalInitializers). Other tensors with external data, those in the bodies of If and Loop or in attributes,
 * cannot be passed: ONNX Runtime would look for their files in the process's working directory. So their data is
 * written into the model's bytes, and so is that of initializers that ONNX Runtime would drop, since it refuses to be
 * given those. Message and field numbers are those of onnx.proto; the encoding is protobuf's.
 */
#ifndef HIPPOCAMP_BACKENDS_ONNXRUNTIME_WEIGHTS_H
#define HIPPOCAMP_BACKENDS_ONNXRUNTIME_WEIGHTS_H

#include "backends/backend.h"
#include "backends/onnxruntime/library.h"

struct weights;

/*
 * Reads the model `name`, a file relative to the version folder. NULL on failure; `error` names the tensor and the
 * file.
 */
struct weights *weights_read(struct backend_files *files, const char *name, struct error *error);

/* The bytes for CreateSessionFromArray; they belong to `weights`. */
struct bytes weights_model(const struct weights *weights);

/* Adds the external initializers to `options`. Call it before CreateSessionFromArray. */
enum status weights_add(const struct weights *weights, const struct onnxruntime *runtime, OrtSessionOptions *options,
			struct error *error);

/* Call it when the session is made and ONNX Runtime has its own copy of everything. NULL is fine. */
void weights_free(struct weights *weights);

#endif
