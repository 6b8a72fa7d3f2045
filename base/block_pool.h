/*
 * Large blocks of memory, kept at hand between one use and the next: a block that malloc gives back to the kernel and
 * gets anew costs a page fault for every 4 KiB, which is most of the time of a request of half a megabyte.
 *
 * What nobody has used for a few seconds is freed, and what is beyond a bound is freed at once, by a thread of the
 * pool's own: giving a block back never takes long. Before block_pool_start, and after block_pool_stop, blocks are
 * malloc's and free's. Under AddressSanitizer they always are, so that a use after it was given back shows.
 */
#ifndef HIPPOCAMP_BASE_BLOCK_POOL_H
#define HIPPOCAMP_BASE_BLOCK_POOL_H

#include <stddef.h>
#include <stdint.h>

#define BLOCK_LARGE ((size_t)64 * 1024) /* smaller ones are malloc's own business */

/* `kept_max`: bytes that may lie idle. One pool for the process; start and stop are one thread's. */
void block_pool_start(size_t kept_max);
void block_pool_stop(void);

/* As malloc and free; *kind is for block_give, and the caller keeps it with the block. Any thread. */
void *block_take(size_t size, uint16_t *kind);
void block_give(void *block, uint16_t kind); /* a block of NULL is fine */

/*
 * free() for something large of malloc's, by the pool's thread: to give back some ten MiB takes the kernel
 * milliseconds. NULL is fine. Any thread.
 */
void block_free_later(void *block);

/* Bytes that lie idle now. */
size_t block_pool_kept(void);

/* What the pool's thread does every BLOCK_POOL_TICK_MS: frees what nobody needed since the last time. For tests. */
#define BLOCK_POOL_TICK_MS 2000
void block_pool_tick(void);

#endif
