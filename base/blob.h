/*
 * A reference-counted block of bytes: a request's body while its tensors are in use; a response while it is written to
 * a client, kept in a cache, or both. Its creator fills it; once a second reference exists, it must not be written to.
 * The count is atomic, so references may be taken and dropped on any thread.
 */
#ifndef HIPPOCAMP_BASE_BLOB_H
#define HIPPOCAMP_BASE_BLOB_H

#include "base/bytes.h"

#include <stdatomic.h>

#define BLOB_ALIGNMENT 64

struct blob {
	atomic_uint references;
	uint16_t lead; /* bytes between the start of the allocation and this struct */
	uint16_t kind; /* of the allocation, for block_give */
	size_t length;
	uint8_t data[]; /* aligned to BLOB_ALIGNMENT */
};

/* Returns a blob with one reference, or NULL when memory runs out. blob_new leaves the data undefined. */
struct blob *blob_new(size_t length);
struct blob *blob_copy(struct bytes bytes);

static inline struct blob *
blob_ref(struct blob *blob)
{
	atomic_fetch_add_explicit(&blob->references, 1, memory_order_relaxed);
	return blob;
}

void blob_unref(struct blob *blob); /* NULL is fine */

static inline struct bytes
blob_bytes(const struct blob *blob)
{
	return bytes_make(blob->data, blob->length);
}

/* True if the bytes lie in the blob's data; false if `blob` is NULL. */
static inline bool
blob_holds(const struct blob *blob, struct bytes bytes)
{
	return blob != NULL && bytes.at >= blob->data && bytes.at + bytes.length <= blob->data + blob->length;
}

#endif
