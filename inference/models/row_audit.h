/*
 * Comparing two answers to the same question, one of them put together out of rows. Room-private; any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_ROW_AUDIT_H
#define HIPPOCAMP_INFERENCE_MODELS_ROW_AUDIT_H

#include "inference/models/model.h"

/*
 * `expected` is what the model says for the question by itself, which took `ns` to compute; `got` is what would be
 * answered, or that row of it (-1: all of it). `scales` are by output the largest numbers of all that ran together, or
 * NULL: those of `got` are. Counts the audit. False: they differ beyond the tolerance, and the
 * model's rows are not trusted any more.
 */
bool row_audit_passes(struct model *model, const struct blob *expected, const struct blob *got, int64_t row,
		      const double *scales, uint64_t ns);

/* Raises scales[i] to the largest number of output i of the entry. */
void row_audit_raise(double *scales, const struct blob *entry);

/* The bytes of one row. */
struct bytes row_audit_row(const struct tensor *tensor, struct bytes data, int64_t row);

#endif
