/*
 * The cache key of a request: a keyed hash, under the deployment's secret, of a canonical encoding of everything that
 * may change its answer. Two requests share a key exactly when they ask the same question of the same model.
 *
 * The encoding, version 4 (all numbers little-endian, every text preceded by its length as u32):
 *
 *   32 bytes, the same for every request to one model version: the SHA-256 of
 *       "hippocamp key 4", name of the hash, namespace, model name, i64 version, 32 bytes of the model's fingerprint,
 *   u8 granularity (1: one row, as a part of any request; 0: a whole request),
 *   u64 number of losses of row trust (inference/models/row_trust.h), u8 whether the inputs have content types,
 *   u32 count of inputs, then for each input in byte order of its name:
 *       name, u8 datatype, u8 rank, i64 per dimension, its content type if they have these, u64 length of the data, the
 *       data,
 *   u32 count of parameters, then for each in byte order of its name:
 *       name, u8 kind, the value (text preceded by its length as u64; numbers as 8 bytes; a boolean as 1)
 *
 * Parameters that only say how the request is handled are left out (key_leaves_out). So are the requested outputs: an
 * entry holds all outputs, and any subset is answered from it. The granularity is part of the key, since a model whose
 * rows depend on each other may have answered a request of one row with outputs of any shape. The number of losses
 * makes all entries unreachable that were stored before the last loss.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_KEY_H
#define HIPPOCAMP_INFERENCE_CACHE_KEY_H

#include "base/buf.h"
#include "base/keyed_hash.h"
#include "base/parameter.h"
#include "base/tensor.h"

/* Appends the part of the key that is the same for all requests to one model version. False when memory runs out. */
bool key_write_prefix(struct buf *out, enum keyed_hash_kind kind, struct bytes name_space, struct bytes model,
		      int64_t version, const struct digest_value *fingerprint);

enum key_granularity { KEY_OF_REQUEST, KEY_OF_ROW };

/* What a key is made from. `inputs` are in byte order of their names; NULLs (missing optional inputs) are skipped. */
struct key_question {
	struct bytes prefix;
	enum key_granularity granularity;
	uint64_t row_losses;
	const struct tensor *const *inputs;
	size_t input_count;
	bool has_content_types; /* they may change the answer */
	const struct parameter *parameters;
	size_t parameter_count;
};

/*
 * `scratch` is the caller's, for reuse. Returns false (no key) when memory runs out or there are too many parameters.
 */
bool key_make(struct keyed_hash *hash, const struct key_question *question, struct buf *scratch,
	      struct digest_value *key);

/* Parameters whose names begin like this are left out, too. */
#define KEY_LEFT_OUT "hippocamp.unkeyed."

/* Does this parameter only say how a request is handled, so that it changes no answer? */
bool key_leaves_out(struct bytes name);

#endif
