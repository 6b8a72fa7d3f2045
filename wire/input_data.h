/*
 * Files of inputs in perf_analyzer's JSON form: {"data": [{"INPUT": VALUE, ...}, ...]}, or with lists of such objects.
 * A VALUE is a list of elements, {"b64": BYTES}, or {"content": either of these, "shape": [...]}.
 * Source: perf_analyzer's docs/input_data.md.
 */
#ifndef HIPPOCAMP_WIRE_INPUT_DATA_H
#define HIPPOCAMP_WIRE_INPUT_DATA_H

#include "base/arena.h"
#include "base/model_config.h"
#include "base/status.h"

/* The tensors of one inference; those without `name` are not in the file. Views into the arena. */
typedef void (*input_data_fn)(void *context, const struct tensor *tensors);

/*
 * Calls `entry` for each object of the file, with a tensor for each of `inputs`, in their order and without a batch
 * dimension. What the file does not say of a shape is that of `inputs`, which may then have no -1.
 */
enum status input_data_decode(struct bytes json, const struct model_tensor *inputs, size_t count, struct arena *arena,
			      input_data_fn entry, void *context, struct error *error);

#endif
