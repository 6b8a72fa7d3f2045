/*
 * A set of keys that were seen lately: about as many as it was made for, in eight bytes each. One thread.
 *
 * A key has a bucket of eight slots, one cache line of the processor; a new key takes the slot of the one that was seen
 * longest ago. So a key is forgotten when eight others have entered its bucket: on average after as many other keys as
 * there are slots, and hardly ever before a fifth of that.
 */
#ifndef HIPPOCAMP_CACHES_TIERED_WINDOW_H
#define HIPPOCAMP_CACHES_TIERED_WINDOW_H

#include "base/digest.h"

#define WINDOW_WAYS 8

struct window {
	uint64_t (*buckets)[WINDOW_WAYS]; /* most recently seen first; 0: free */
	size_t mask;
};

/* For `keys` keys, rounded up to a power of two. False where there is no memory. */
bool window_init(struct window *window, size_t keys);
void window_fini(struct window *window);

/* Adds a key. Was it there before? */
bool window_see(struct window *window, const struct digest_value *digest);

#endif
