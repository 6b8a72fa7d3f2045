/*
 * A response as one block of memory, which the backend writes into, replies point into, and every cache stores. It
 * holds all outputs of a model for one request, in the order of the model's config, as clients see them.
 *
 * Layout, version 4, little-endian: struct header (entry.c); then for each output a record of offsets; then shapes,
 * names and content types, and the tensors' bytes, each tensor aligned to 16. A block is immutable once sealed.
 *
 * A block that leaves the process carries a MAC (base/keyed_hash.h, the first 16 bytes) of everything after the MAC,
 * under a key derived from the deployment's secret: a writer to the store who lacks the secret cannot forge an answer.
 * A block from outside must pass entry_check before it is given to any other function here.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_ENTRY_H
#define HIPPOCAMP_INFERENCE_CACHE_ENTRY_H

#include "base/blob.h"
#include "base/keyed_hash.h"
#include "base/tensor.h"
#include "inference/cache/freshness.h"

#define ENTRY_VERSION 4

/* One output of a new entry. */
struct entry_shape {
	struct bytes name;
	enum datatype datatype;
	size_t rank;
	const int64_t *shape;
	size_t length; /* bytes of the tensor */
	struct bytes content_type;
};

/*
 * Makes a block for outputs of these shapes; data[i] is where the bytes of output i go. Returns NULL if the sizes
 * overflow or memory runs out. Fill in the data, then call entry_seal.
 */
struct blob *entry_new(const struct entry_shape *shapes, size_t count, uint8_t **data);

/* Writes the entry's dates and the key that it answers; NULL: no key. */
void entry_seal(struct blob *entry, const struct digest_value *key, const struct freshness_entry *freshness);

/*
 * Writes the MAC, after entry_seal and while nobody else has a reference. Returns false when memory runs out; readers
 * then reject the block.
 */
bool entry_authenticate(struct blob *entry, struct keyed_hash *mac);

enum entry_verdict {
	ENTRY_GOOD,
	ENTRY_UNKNOWN,	 /* not an entry, of another version, or torn */
	ENTRY_WRONG_MAC, /* damaged, or made without the secret */
	ENTRY_MALFORMED, /* offsets out of range, sizes that do not match shapes, malformed strings */
};

enum entry_verdict entry_check(struct bytes block, struct keyed_hash *mac);

/* Is the entry the answer to this key? Protects from a store that mixes up its replies. */
bool entry_answers(const struct blob *entry, const struct digest_value *key);

size_t entry_output_count(const struct blob *entry);
struct freshness_entry entry_freshness(const struct blob *entry);

/* A view of output `index`; it lives as long as the block. */
struct tensor entry_output(const struct blob *entry, size_t index);

#endif
