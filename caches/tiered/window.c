#include "caches/tiered/window.h"

#include <stdlib.h>

bool
window_init(struct window *window, size_t keys)
{
	size_t count = 1;
	size_t size;

	while (count * WINDOW_WAYS < keys) {
		count *= 2;
	}
	size = count * sizeof(*window->buckets);
	window->mask = count - 1;
	window->buckets = aligned_alloc(sizeof(*window->buckets), size);
	if (window->buckets != NULL) {
		memset(window->buckets, 0, size);
	}
	return window->buckets != NULL;
}

void
window_fini(struct window *window)
{
	free(window->buckets);
}

bool
window_see(struct window *window, const struct digest_value *digest)
{
	uint64_t mark;
	uint64_t *bucket;
	size_t at = 0;
	bool seen;

	memcpy(&mark, digest->bytes, sizeof(mark));
	bucket = window->buckets[mark & window->mask];
	mark += mark == 0;
	while (at < WINDOW_WAYS - 1 && bucket[at] != mark) {
		at++;
	}
	seen = bucket[at] == mark;
	memmove(bucket + 1, bucket, at * sizeof(*bucket));
	bucket[0] = mark;
	return seen;
}
