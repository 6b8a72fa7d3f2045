/*
 * Cutting a request into slices, making their keys, and assembling the answer from those of the slices. Room-private.
 */
#ifndef HIPPOCAMP_INFERENCE_ROWS_H
#define HIPPOCAMP_INFERENCE_ROWS_H

#include "base/buf.h"
#include "inference/fetch/flight.h"

/*
 * Fills request->state->slices: one for each row, or one for the whole. Needs `ordered`. Returns false when memory runs
 * out.
 */
bool rows_cut(struct inference_request *request, bool by_row);

/* Makes a slice of the whole request, beside request->state->slices. Returns NULL when memory runs out. */
struct slice *rows_whole(struct inference_request *request);

/* The limit of `scratch`, in bytes. */
#define KEY_SCRATCH_MAX ((size_t)256 << 20)

/* Makes the keys of all slices. Returns false when memory runs out, or if the request can have no keys. */
bool rows_make_keys(struct inference_request *request, struct keyed_hash *hash, struct buf *scratch);

/*
 * Assembles the answer from the entries of all slices, in order; there must be more than one. Returns NULL when memory
 * runs out, or with *fit false: an entry does not have the rows of its slice, or the shapes of rows differ.
 */
struct blob *rows_assemble(const struct inference_request *request, bool *fit);

#endif
