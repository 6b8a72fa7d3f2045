/*
 * An arena: memory for the many small things of one request, given back all at once. Bounded: past its maximum, or
 * without memory, arena_get returns NULL. Owned by one thread.
 *
 * Under AddressSanitizer each allocation is a malloc of its own, so that an overrun or a use after arena_clear shows.
 */
#ifndef HIPPOCAMP_BASE_ARENA_H
#define HIPPOCAMP_BASE_ARENA_H

#include "base/bytes.h"

struct arena_block;

struct arena {
	struct arena_block *blocks; /* newest first */
	size_t used;		    /* of the newest block */
	size_t total;		    /* bytes handed out since the last clear */
	size_t maximum;
	size_t block_size;
};

void arena_init(struct arena *arena, size_t maximum);

/* Of blocks that malloc keeps at hand for each thread: for arenas that live shortly and hold little. */
void arena_init_small(struct arena *arena, size_t maximum);
void arena_fini(struct arena *arena);

/* Everything handed out becomes invalid; one block is kept for the next round. */
void arena_clear(struct arena *arena);

/* As arena_get, but the bytes are not zeroed: for what is large and mostly never read. */
void *arena_room(struct arena *arena, size_t size);

/* `size` zeroed bytes, aligned for any type, or NULL. arena_array checks count * size for overflow. */
void *arena_get(struct arena *arena, size_t size);
void *arena_array(struct arena *arena, size_t count, size_t size);

/* A copy that ends with a NUL (not counted), or a view with `at` NULL. */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);

#endif
