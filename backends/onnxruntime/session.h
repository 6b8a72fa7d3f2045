/*
 * One ONNX model as a session: opened with Triton's session options, described, run. Room-private.
 *
 * A session is shared by all instances of a model (ONNX Runtime allows concurrent runs), so weights are in memory once.
 */
#ifndef HIPPOCAMP_BACKENDS_ONNXRUNTIME_SESSION_H
#define HIPPOCAMP_BACKENDS_ONNXRUNTIME_SESSION_H

#include "backends/backend.h"
#include "backends/onnxruntime/library.h"

#include <stdatomic.h>

struct backend_model {
	const struct onnxruntime *runtime;
	OrtSession *session;
	OrtRunOptions *run_options; /* NULL: the defaults */
	struct backend_signature signature;

	/*
	 * Some graphs declare output shapes that they do not keep. A run into preallocated memory then fails; the model
	 * is run again with outputs that ONNX Runtime allocates, and all later runs do the same.
	 */
	atomic_bool shapes_unreliable;
};

/* Reads the graph's inputs and outputs into model->signature. */
enum status session_describe(struct backend_model *model, struct error *error);
void session_forget(struct backend_model *model);

enum status session_run(struct backend_model *model, struct backend_run *run, struct error *error);

#endif
