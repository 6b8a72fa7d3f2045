#include "base/arena.h"

#include "base/address_sanitizer.h"
#include "base/block_pool.h"

#include <stdalign.h>

#define ARENA_BLOCK_SIZE ((size_t)4096)
#define ARENA_SMALL_BLOCK_SIZE ((size_t)992) /* with its header, fits the 1,032 bytes of glibc's tcache */
#define ARENA_ALIGNMENT alignof(max_align_t)

struct arena_block {
	struct arena_block *next;
	size_t size;
	uint16_t kind; /* for block_give */
	alignas(ARENA_ALIGNMENT) uint8_t data[];
};

void
arena_init(struct arena *arena, size_t maximum)
{
	*arena = (struct arena){.maximum = maximum, .block_size = ARENA_BLOCK_SIZE};
}

void
arena_init_small(struct arena *arena, size_t maximum)
{
	*arena = (struct arena){.maximum = maximum, .block_size = ARENA_SMALL_BLOCK_SIZE};
}

static void
free_block(struct arena_block *block)
{
	block_give(block, block->kind);
}

static void
free_blocks(struct arena_block *block)
{
	while (block != NULL) {
		struct arena_block *next = block->next;

		free_block(block);
		block = next;
	}
}

void
arena_fini(struct arena *arena)
{
	free_blocks(arena->blocks);
	*arena = (struct arena){0};
}

void
arena_clear(struct arena *arena)
{
	struct arena_block *kept = NULL;

	if (!ADDRESS_SANITIZER && arena->blocks != NULL) {
		/* Keeps the oldest block, which has the usual size unless the very first allocation was larger. */
		for (kept = arena->blocks; kept->next != NULL;) {
			struct arena_block *next = kept->next;

			free_block(kept);
			kept = next;
		}
		if (kept->size > arena->block_size) {
			free_block(kept);
			kept = NULL;
		}
	} else {
		free_blocks(arena->blocks);
	}
	arena->blocks = kept;
	arena->used = 0;
	arena->total = 0;
}

static bool
add_block(struct arena *arena, size_t size)
{
	uint16_t kind;
	struct arena_block *block = block_take(sizeof(*block) + size, &kind);

	if (block == NULL) {
		return false;
	}
	block->size = size;
	block->kind = kind;
	block->next = arena->blocks;
	arena->blocks = block;
	arena->used = 0;
	return true;
}

/* Not inlined: take(), which runs a dozen times per request, then need not save registers. */
__attribute__((noinline)) static void *
take_from_new_block(struct arena *arena, size_t size, size_t rounded)
{
	size_t block_size = rounded > arena->block_size ? rounded : arena->block_size;

	if (!add_block(arena, ADDRESS_SANITIZER ? size : block_size)) {
		return NULL;
	}
	arena->used = rounded;
	arena->total += rounded;
	return arena->blocks->data;
}

static inline void *
take(struct arena *arena, size_t size)
{
	size_t rounded = (size + ARENA_ALIGNMENT - 1) & ~(ARENA_ALIGNMENT - 1);
	uint8_t *at;

	if (rounded < size || rounded > arena->maximum - arena->total) {
		return NULL;
	}
	if (ADDRESS_SANITIZER || arena->blocks == NULL || rounded > arena->blocks->size - arena->used) {
		return take_from_new_block(arena, size, rounded);
	}
	at = arena->blocks->data + arena->used;
	arena->used += rounded;
	arena->total += rounded;
	return at;
}

void *
arena_room(struct arena *arena, size_t size)
{
	return take(arena, size);
}

void *
arena_get(struct arena *arena, size_t size)
{
	void *at = take(arena, size);

	return at == NULL ? NULL : memset(at, 0, size);
}

void *
arena_array(struct arena *arena, size_t count, size_t size)
{
	size_t total;

	return __builtin_mul_overflow(count, size, &total) ? NULL : arena_get(arena, total);
}

struct bytes
arena_copy(struct arena *arena, struct bytes bytes)
{
	uint8_t *at = bytes.length == SIZE_MAX ? NULL : arena_get(arena, bytes.length + 1);

	if (at == NULL) {
		return bytes_make(NULL, 0);
	}
	if (bytes.length > 0) {
		memcpy(at, bytes.at, bytes.length);
	}
	return bytes_make(at, bytes.length);
}
