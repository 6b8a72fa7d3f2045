#include "base/blob.h"

#include <stdlib.h>

struct blob *
blob_new(size_t length)
{
	struct blob *blob;

	if (length > PTRDIFF_MAX - sizeof(*blob)) {
		return NULL;
	}
	if (posix_memalign((void **)&blob, BLOB_ALIGNMENT, sizeof(*blob) + length) != 0) {
		return NULL;
	}
	atomic_init(&blob->references, 1);
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
		free(blob);
	}
}
