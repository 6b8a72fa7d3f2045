/*
 * Which keys were seen lately: about as many as it was made for, in eight bytes each, for one thread.
 *
 * A key has a bucket of eight places, one line of the processor's cache; the one that was seen longest ago makes room
 * for a new one. So a key is forgotten when eight others have come into its bucket, which is on the average when as
 * many others were seen as there are places, and hardly ever before a fifth of that.
 */
#ifndef HIPPOCAMP_CACHES_TIERED_WINDOW_H
#define HIPPOCAMP_CACHES_TIERED_WINDOW_H

#include "base/digest.h"

#define WINDOW_WAYS 8

struct window {
	uint64_t (*buckets)[WINDOW_WAYS]; /* the latest first; 0: free */
	size_t mask;
};

/* For `keys` of them, rounded up to a power of two. False where there is no memory. */
bool window_init(struct window *window, size_t keys);
void window_fini(struct window *window);

/* Sees a key: was it seen before? */
bool window_see(struct window *window, const struct digest_value *digest);

#endif
