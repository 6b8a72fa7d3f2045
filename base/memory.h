/*
 * Allocation of small things whose size no outsider chooses. Running out of those few bytes is not survivable for a
 * server, so these end the process with a message. Sizes that come from outside go through blob, buf and arena, which
 * fail softly, and code that lives inside a foreign process (caches/, plugins/) uses malloc and checks.
 */
#ifndef HIPPOCAMP_BASE_MEMORY_H
#define HIPPOCAMP_BASE_MEMORY_H

#include <stddef.h>

void *memory_room(size_t size);				 /* content undefined; free() it */
void *memory_new(size_t size);				 /* zeroed; free() it */
void *memory_array(size_t count, size_t size);		 /* zeroed; free() it */
void *memory_grow(void *old, size_t count, size_t size); /* as reallocarray */
char *memory_text(const char *text);			 /* strdup; NULL stays NULL */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
