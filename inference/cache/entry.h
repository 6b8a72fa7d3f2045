/*
 * A response as one block: what the backend writes into, what replies point into, and what every cache keeps. It holds
 * all outputs of a model for one request, in the order of the model's config, as clients see them.
 *
 * Layout, version 3, little-endian: a header (below); then per output a record of offsets; then shapes, names, and the
 * tensors' bytes, each tensor aligned to 16. A block is immutable once sealed.
 *
 * A block that is to leave the process carries a MAC (base/keyed_hash.h, the first 16 bytes) of all behind it, under a
 * key that is derived from the deployment's secret: whoever can write to the store, but does not have the secret,
 * cannot make an answer. Blocks from outside are checked in full by entry_check before anything else here is called
 * with them.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_ENTRY_H
#define HIPPOCAMP_INFERENCE_CACHE_ENTRY_H

#include "base/blob.h"
#include "base/keyed_hash.h"
#include "base/tensor.h"
#include "inference/cache/freshness.h"

#define ENTRY_VERSION 3

/* What an output of a new entry looks like. */
struct entry_shape {
	struct bytes name;
	enum datatype datatype;
	size_t rank;
	const int64_t *shape;
	size_t length; /* bytes of the tensor */
};

/*
 * A block for outputs of these shapes; data[i] is where output i's bytes go. NULL where the sizes overflow or there is
 * no memory. Fill the data, then seal.
 */
struct blob *entry_new(const struct entry_shape *shapes, size_t count, uint8_t **data);

/* `key` is the one that it answers, or NULL where it has none. */
void entry_seal(struct blob *entry, const struct digest_value *key, const struct freshness_entry *freshness);

/* After entry_seal, while nobody else has a reference. False without memory: then nobody takes it from a store. */
bool entry_authenticate(struct blob *entry, struct keyed_hash *mac);

enum entry_verdict {
	ENTRY_GOOD,
	ENTRY_UNKNOWN,	 /* no entry, or of another version, or torn */
	ENTRY_WRONG_MAC, /* damaged, or made by somebody who has not the secret */
	ENTRY_MALFORMED, /* offsets outside, sizes that do not match shapes, strings that are not framed */
};

enum entry_verdict entry_check(struct bytes block, struct keyed_hash *mac);

/* Is it the answer to this key? A store that mixes up its replies must not make a wrong answer of it. */
bool entry_answers(const struct blob *entry, const struct digest_value *key);

size_t entry_output_count(const struct blob *entry);
struct freshness_entry entry_freshness(const struct blob *entry);

/* A view of output `index`; it lives as long as the block. */
struct tensor entry_output(const struct blob *entry, size_t index);

#endif
