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

void *memory_room(size_t size);				 /* undefined content; free() it */
void *memory_new(size_t size);				 /* zeroed; free() it */
void *memory_array(size_t count, size_t size);		 /* zeroed; free() it */
void *memory_grow(void *old, size_t count, size_t size); /* as reallocarray */
void memory_check(bool got);				 /* false: a library has found no memory */
char *memory_text(const char *text);			 /* strdup; NULL stays NULL */
char *memory_text_of(struct bytes bytes);		 /* a copy that ends in a null byte */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
