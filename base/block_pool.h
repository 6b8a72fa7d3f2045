/*
 * A pool of large blocks of memory, kept for reuse: a block that malloc returns to the kernel and allocates anew costs
 * a page fault for every 4 KiB, which is most of the time of a request of half a megabyte.
 *
 * The pool's own thread frees blocks that were idle for a few seconds and, at once, those beyond a bound, so block_give
 * never takes long. Before block_pool_start, and after block_pool_stop, block_take is malloc and block_give is free. So
 * they are under AddressSanitizer, to detect uses after block_give.
 */
#ifndef HIPPOCAMP_BASE_BLOCK_POOL_H
#define HIPPOCAMP_BASE_BLOCK_POOL_H

#include <stddef.h>
#include <stdint.h>

#define BLOCK_LARGE ((size_t)64 * 1024) /* bytes; smaller blocks come from malloc and are not pooled */

/* `kept_max`: the most idle bytes to keep. There is one pool per process; call both functions on the same thread. */
void block_pool_start(size_t kept_max);
void block_pool_stop(void);

/* As malloc and free. block_take sets *kind, which the caller keeps and passes to block_give. Any thread. */
void *block_take(size_t size, uint16_t *kind);
void block_give(void *block, uint16_t kind); /* `block` may be NULL */

/* Returns how many bytes block_take takes from malloc for a block of `size`: sizes are rounded up to their class. */
size_t block_room(size_t size);

/*
 * Has the pool's thread free a large block of malloc's: returning some ten MiB to the kernel takes milliseconds.
 * `block` may be NULL. Any thread.
 */
void block_free_later(void *block);

/* Returns how many bytes are idle now. */
size_t block_pool_kept(void);

/* Frees blocks that were idle since the last tick. For tests; the pool's thread calls it every BLOCK_POOL_TICK_MS. */
#define BLOCK_POOL_TICK_MS 2000
void block_pool_tick(void);

#endif
