/*
 * Comparing two answers to the same question, one of them assembled from rows. Room-private; any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_ROW_AUDIT_H
#define HIPPOCAMP_INFERENCE_MODELS_ROW_AUDIT_H

#include "inference/models/model.h"

/*
 * Counts and judges an audit. `expected` is the model's answer to the question by itself, which took `ns` to compute;
 * `got` is the answer to be checked, or its row `row` (-1: all of it). `scales` are the largest numbers of each output
 * over the whole batch; NULL: those of `got`. Returns false if they differ beyond the tolerance; the model has then
 * lost row trust.
 */
bool row_audit_passes(struct model *model, const struct blob *expected, const struct blob *got, int64_t row,
		      const double *scales, uint64_t ns);

/* Raises scales[i] to the largest number of output i of the entry. */
void row_audit_raise(double *scales, const struct blob *entry);

/* The bytes of one row of `data`. */
struct bytes row_audit_row(const struct tensor *tensor, struct bytes data, int64_t row);

#endif
