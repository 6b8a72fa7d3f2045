/*
 * A request cut into the slices that are cached, their keys, and the answers of all slices put together again.
 * Room-private.
 */
#ifndef HIPPOCAMP_INFERENCE_ROWS_H
#define HIPPOCAMP_INFERENCE_ROWS_H

#include "base/buf.h"
#include "inference/fetch/flight.h"

/* Fills request->slices: one for each row, or one for all of it. Needs `ordered`. False without memory. */
bool rows_cut(struct inference_request *request, bool by_row);

/* One slice for the whole request, apart from its slices. NULL without memory. */
struct slice *rows_whole(struct inference_request *request);

/* What `scratch` may grow to. */
#define KEY_SCRATCH_MAX ((size_t)256 << 20)

/* The keys of all slices. False without memory, or where the request cannot have any. */
bool rows_make_keys(struct inference_request *request, struct keyed_hash *hash, struct buf *scratch);

/*
 * The answer out of the entries of all slices, in their order; more than one. NULL without memory, or where *fit is
 * false: entries do not have the rows of their slices, or rows of this model do not have the same shape.
 */
struct blob *rows_assemble(const struct inference_request *request, bool *fit);

#endif
