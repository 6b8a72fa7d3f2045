/*
 * The bytes of an ONNX model: its file and those of its external data, each read whole and once into private memory,
 * so that nothing that becomes of the files on disk touches a model that is served. Room-private.
 *
 * ONNX Runtime is given the external data of the graph's own initializers as tensors that lie in that memory
 * (AddExternalInitializers). It has no such way for other tensors with external data, those in the bodies of If and
 * Loop or in attributes, but would look for their files in the process's working directory; so these are written into
 * the model's bytes, and so are initializers that it would drop, since it refuses to be given those. Message and field
 * numbers are those of onnx.proto; the encoding is protobuf's.
 */
#ifndef HIPPOCAMP_BACKENDS_ONNXRUNTIME_WEIGHTS_H
#define HIPPOCAMP_BACKENDS_ONNXRUNTIME_WEIGHTS_H

#include "backends/backend.h"
#include "backends/onnxruntime/library.h"

struct weights;

/* `name` is the model's file, relative to the version folder. NULL on failure, which names the tensor and the file. */
struct weights *weights_read(struct backend_files *files, const char *name, struct error *error);

/* What is to be given to CreateSessionFromArray. */
struct bytes weights_model(const struct weights *weights);

/* Before that. */
enum status weights_add(const struct weights *weights, const struct onnxruntime *runtime, OrtSessionOptions *options,
			struct error *error);

/* When the session is made: ONNX Runtime has its own copy of everything then. NULL is fine. */
void weights_free(struct weights *weights);

#endif
