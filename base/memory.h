/*
 * Allocation of small objects whose size no outsider chooses. A server cannot go on without those few bytes, so these
 * functions print a message and abort the process on failure. Use blob, buf or arena, which return errors, for sizes
 * that come from outside, and malloc with a check in code that runs in a foreign process (caches/, plugins/).
 */
#ifndef HIPPOCAMP_BASE_MEMORY_H
#define HIPPOCAMP_BASE_MEMORY_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

void *memory_room(size_t size);				 /* undefined content; free() it */
void *memory_new(size_t size);				 /* zeroed; free() it */
void *memory_array(size_t count, size_t size);		 /* zeroed; free() it */
void *memory_grow(void *old, size_t count, size_t size); /* as reallocarray */
void memory_check(bool got);				 /* false: a library has found no memory */
char *memory_text(const char *text);			 /* strdup; NULL stays NULL */
char *memory_text_of(struct bytes bytes);		 /* a copy that ends in a null byte */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Zeroed room for `count` items: `few`, an array of the caller's with room for `few_count`, or new memory where that is
 * not enough. For arrays that are hardly ever long, on paths where each allocation counts.
 */
static inline void *
memory_few(void *few, size_t few_count, size_t count, size_t size)
{
	return count > few_count ? memory_array(count, size) : memset(few, 0, count * size);
}

static inline void
memory_few_free(const void *few, void *at)
{
	if (at != few) {
		free(at);
	}
}

#endif
