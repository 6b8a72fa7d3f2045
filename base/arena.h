/*
 * An arena: memory for the many small objects of one request, freed all at once. Allocations return NULL past the
 * arena's maximum, or when memory runs out. Owned by one thread.
 *
 * Under AddressSanitizer each allocation is a malloc of its own, to detect overruns and uses after arena_clear.
 */
#ifndef HIPPOCAMP_BASE_ARENA_H
#define HIPPOCAMP_BASE_ARENA_H

#include "base/bytes.h"

struct arena_block;

struct arena {
	struct arena_block *blocks; /* newest first */
	size_t used;		    /* bytes of the newest block */
	size_t total;		    /* bytes handed out since the last clear */
	size_t maximum;
	size_t block_size;
};

void arena_init(struct arena *arena, size_t maximum);

/* Uses blocks small enough for malloc's per-thread cache: for arenas that live briefly and hold little. */
void arena_init_small(struct arena *arena, size_t maximum);
void arena_fini(struct arena *arena);

/* Invalidates every allocation; keeps one block for reuse. */
void arena_clear(struct arena *arena);

/* As arena_get, but the bytes are not zeroed. */
void *arena_room(struct arena *arena, size_t size);

/* Returns `size` zeroed bytes, aligned for any type, or NULL. arena_array checks count * size for overflow. */
void *arena_get(struct arena *arena, size_t size);
void *arena_array(struct arena *arena, size_t count, size_t size);

/* Returns a copy, followed by an uncounted NUL, or a view with `at` NULL. */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);

#endif
