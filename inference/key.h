/*
 * The cache key of a request: a digest, under the deployment's secret, of a canonical encoding of everything that may
 * change its answer. Two requests share a key exactly when they ask the same question of the same model.
 *
 * The encoding, version 1 (all numbers little-endian, every text behind its length as u32):
 *
 *   "hippocamp key 1", namespace, model name, i64 version, 16 bytes of the model's fingerprint,
 *   u32 count of inputs, then for each input in byte order of its name:
 *       name, u8 datatype, u8 rank, i64 per dimension, u64 length of the data, the data,
 *   u32 count of parameters, then for each in byte order of its name:
 *       name, u8 kind, the value (text behind its length; numbers as 8 bytes; a boolean as 1)
 *
 * Parameters that only say how the request is handled (priority, timeout, cache, the sequence ones) are left out.
 * Requested outputs are not in it: an entry holds all outputs, and any subset is answered from it.
 */
#ifndef HIPPOCAMP_INFERENCE_KEY_H
#define HIPPOCAMP_INFERENCE_KEY_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/parameter.h"
#include "base/tensor.h"

/* The part that is the same for every request to one model version: built once. */
void key_write_prefix(struct buf *out, struct bytes name_space, struct bytes model, int64_t version,
		      const struct digest_value *fingerprint);

/*
 * `inputs` are in byte order of their names; NULLs (missing optional inputs) are skipped. `scratch` is the caller's
 * for reuse. False where there is no memory; then the request has no key.
 */
bool key_digest(struct digest *digest, const struct digest_secret *secret, struct bytes prefix,
		const struct tensor *const *inputs, size_t input_count, const struct parameter *parameters,
		size_t parameter_count, struct buf *scratch, struct digest_value *key);

/* Does this parameter only say how a request is handled, so that it changes no answer? */
bool key_leaves_out(struct bytes name);

#endif
