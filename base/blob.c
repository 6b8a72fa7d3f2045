#include "base/blob.h"

#include "base/address_sanitizer.h"
#include "base/block_pool.h"

#include <stdalign.h>
#include <stdlib.h>

/* The most bytes between an address that malloc returns and the next multiple of BLOB_ALIGNMENT. */
#define LEAD_MAX (BLOB_ALIGNMENT - alignof(max_align_t))

_Static_assert(sizeof(struct blob) % alignof(max_align_t) == 0, "data may lie right behind the struct");

/*
 * The caller aligns the blob within the block: glibc's posix_memalign bypasses the caches of free blocks and splits
 * every block off a larger one, which takes several times as long and fragments the heap.
 */
static void *
allocate(size_t size, uint16_t *kind)
{
	void *start = NULL;

	if (!ADDRESS_SANITIZER) {
		return block_take(size, kind);
	}
	*kind = 0; /* block_give then calls free */
	/* Aligned, so that all padding precedes the data and AddressSanitizer detects an overrun by one byte. */
	return posix_memalign(&start, BLOB_ALIGNMENT, size) == 0 ? start : NULL;
}

struct blob *
blob_new(size_t length)
{
	struct blob *blob;
	uint16_t kind;
	uint8_t *start;
	size_t lead;

	if (length > PTRDIFF_MAX - sizeof(*blob) - LEAD_MAX) {
		return NULL;
	}
	start = allocate(LEAD_MAX + sizeof(*blob) + length, &kind);
	if (start == NULL) {
		return NULL;
	}
	lead = -((uintptr_t)start + sizeof(*blob)) % BLOB_ALIGNMENT;
	blob = (struct blob *)(start + lead);
	atomic_init(&blob->references, 1);
	blob->lead = (uint16_t)lead;
	blob->kind = kind;
	blob->length = length;
	return blob;
}

struct blob *
blob_copy(struct bytes bytes)
{
	struct blob *blob = blob_new(bytes.length);

	if (blob != NULL && bytes.length > 0) {
		memcpy(blob->data, bytes.at, bytes.length);
	}
	return blob;
}

void
blob_unref(struct blob *blob)
{
	if (blob != NULL && atomic_fetch_sub_explicit(&blob->references, 1, memory_order_acq_rel) == 1) {
		block_give((uint8_t *)blob - blob->lead, blob->kind);
	}
}
