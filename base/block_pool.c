#include "base/block_pool.h"

#include "base/address_sanitizer.h"
#include "base/fault.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifndef BLOCK_POOL_OFF
#define BLOCK_POOL_OFF ADDRESS_SANITIZER
#endif

/* Size classes, in steps of an eighth of a power of two: 64, 72, … 120, 128, 144 KiB, … 256 MiB. */
#define STEPS 8
#define OCTAVES 12
#define CLASSES (OCTAVES * STEPS + 1)
#define CLASS_OF_MAX (BLOCK_LARGE << OCTAVES)

/* Kinds of blocks: smaller than any class, one kind per class (its index + 1), larger than any class. */
#define KIND_SMALL 0
#define KIND_HUGE (CLASSES + 1)

struct idle_block {
	struct idle_block *next;
};

struct block_class {
	pthread_mutex_t lock;
	struct idle_block *first; /* last in, first out: the newest is in the processor's caches */
	size_t count;
	size_t spare; /* the smallest `count` since the last tick */
};

static struct {
	atomic_bool running;
	atomic_size_t kept;
	size_t kept_max;
	atomic_bool taken; /* a block was taken since the last tick */
	bool freed;	   /* a block was freed since the last malloc_trim */
	struct block_class classes[CLASSES];
	_Atomic(struct idle_block *) huge; /* blocks to free that belong to no class */
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	bool ending;
	bool called;
	atomic_bool asleep; /* the thread waits only for a call */
	pthread_t thread;
} pool;

static size_t
class_of(size_t size)
{
	size_t octave = 0;
	size_t base = BLOCK_LARGE;

	while (size > base * 2) {
		base *= 2;
		octave++;
	}
	return octave * STEPS + (size - base + base / STEPS - 1) / (base / STEPS);
}

/* The size in bytes of a class's blocks. */
static size_t
room_of(size_t class)
{
	size_t base = BLOCK_LARGE << class / STEPS;

	return base + class % STEPS * (base / STEPS);
}

static uint16_t
kind_of(size_t size)
{
	if (BLOCK_POOL_OFF || size < BLOCK_LARGE) {
		return KIND_SMALL;
	}
	return size > CLASS_OF_MAX ? KIND_HUGE : (uint16_t)(class_of(size) + 1);
}

size_t
block_room(size_t size)
{
	uint16_t kind = kind_of(size);

	return kind == KIND_SMALL || kind == KIND_HUGE ? size : room_of((size_t)kind - 1);
}

static struct idle_block *
pop(struct block_class *class)
{
	struct idle_block *block;

	(void)pthread_mutex_lock(&class->lock);
	block = class->first;
	if (block != NULL) {
		class->first = block->next;
		class->count--;
		if (class->count < class->spare) {
			class->spare = class->count;
		}
	}
	(void)pthread_mutex_unlock(&class->lock);
	return block;
}

void *
block_take(size_t size, uint16_t *kind)
{
	struct idle_block *block = NULL;
	size_t class;

	*kind = kind_of(size);
	if (*kind == KIND_SMALL || *kind == KIND_HUGE) {
		return malloc(size);
	}
	class = *kind - 1U;
	if (atomic_load_explicit(&pool.running, memory_order_acquire)) {
		atomic_store_explicit(&pool.taken, true, memory_order_relaxed);
		block = pop(&pool.classes[class]);
	}
	if (block == NULL) {
		return malloc(room_of(class));
	}
	(void)atomic_fetch_sub_explicit(&pool.kept, room_of(class), memory_order_relaxed);
	return block;
}

/* Wakes the thread to free blocks, now or at the next tick. */
static void
call_thread(void)
{
	(void)pthread_mutex_lock(&pool.lock);
	pool.called = true;
	(void)pthread_cond_signal(&pool.wanted);
	(void)pthread_mutex_unlock(&pool.lock);
}

static void
give_huge(struct idle_block *block)
{
	block->next = atomic_load_explicit(&pool.huge, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&pool.huge, &block->next, block, memory_order_release,
						      memory_order_relaxed)) {
	}
	call_thread();
}

static void
give_classed(struct idle_block *block, size_t index)
{
	struct block_class *class = &pool.classes[index];
	size_t room = room_of(index);
	size_t kept = atomic_fetch_add(&pool.kept, room) + room; /* before the push: a pop subtracts it */

	(void)pthread_mutex_lock(&class->lock);
	block->next = class->first;
	class->first = block;
	class->count++;
	(void)pthread_mutex_unlock(&class->lock);
	if (kept > pool.kept_max || atomic_load(&pool.asleep)) {
		call_thread();
	}
}

void
block_give(void *block, uint16_t kind)
{
	if (block == NULL || kind == KIND_SMALL || !atomic_load_explicit(&pool.running, memory_order_acquire)) {
		free(block);
	} else if (kind == KIND_HUGE) {
		give_huge(block);
	} else {
		give_classed(block, kind - 1U);
	}
}

void
block_free_later(void *block)
{
	block_give(block, BLOCK_POOL_OFF ? KIND_SMALL : KIND_HUGE);
}

size_t
block_pool_kept(void)
{
	return atomic_load(&pool.kept);
}

/* False: the class has no idle block. */
static bool
free_one(size_t class)
{
	struct idle_block *block = pop(&pool.classes[class]);

	if (block == NULL) {
		return false;
	}
	(void)atomic_fetch_sub_explicit(&pool.kept, room_of(class), memory_order_relaxed);
	free(block);
	pool.freed = true;
	return true;
}

static void
free_huge(void)
{
	struct idle_block *block = atomic_exchange_explicit(&pool.huge, NULL, memory_order_acquire);

	while (block != NULL) {
		struct idle_block *next = block->next;

		free(block);
		block = next;
	}
}

/* Frees the largest idle blocks first. */
static void
free_surplus(size_t allowed)
{
	for (size_t i = CLASSES; i-- > 0;) {
		while (block_pool_kept() > allowed && free_one(i)) {
		}
	}
}

void
block_pool_tick(void)
{
	for (size_t i = 0; i < CLASSES; i++) {
		struct block_class *class = &pool.classes[i];
		size_t spare;

		(void)pthread_mutex_lock(&class->lock);
		spare = class->spare;
		(void)pthread_mutex_unlock(&class->lock);
		for (; spare > 0; spare--) {
			(void)free_one(i);
		}
		(void)pthread_mutex_lock(&class->lock);
		class->spare = class->count;
		(void)pthread_mutex_unlock(&class->lock);
	}
	/* malloc keeps free memory between blocks in use. malloc_trim blocks other threads, so call it only when no
	 * block was taken since the last tick. */
	if (!atomic_exchange_explicit(&pool.taken, false, memory_order_relaxed) && pool.freed) {
		pool.freed = false;
		(void)malloc_trim(0);
	}
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Waits for a call or until `tick_ms`; only for a call if no block is idle and none was freed. */
static void
wait_until(uint64_t tick_ms)
{
	struct timespec until = {.tv_sec = (time_t)(tick_ms / 1000), .tv_nsec = (long)(tick_ms % 1000 * 1000000)};

	atomic_store(&pool.asleep, true); /* before the check: a later block_give then calls */
	if (block_pool_kept() > 0 || pool.freed) {
		atomic_store(&pool.asleep, false);
		while (!pool.called && !pool.ending &&
		       pthread_cond_clockwait(&pool.wanted, &pool.lock, CLOCK_MONOTONIC, &until) == 0) {
		}
	}
	while (atomic_load(&pool.asleep) && !pool.called && !pool.ending) {
		(void)pthread_cond_wait(&pool.wanted, &pool.lock);
	}
	atomic_store(&pool.asleep, false);
	pool.called = false;
}

static void *
run(void *argument)
{
	uint64_t tick_ms = now_ms() + BLOCK_POOL_TICK_MS;

	(void)argument;
	(void)pthread_mutex_lock(&pool.lock);
	while (!pool.ending) {
		wait_until(tick_ms);
		(void)pthread_mutex_unlock(&pool.lock);
		free_huge();
		free_surplus(pool.kept_max);
		if (now_ms() >= tick_ms) {
			block_pool_tick();
			tick_ms = now_ms() + BLOCK_POOL_TICK_MS;
		}
		(void)pthread_mutex_lock(&pool.lock);
	}
	(void)pthread_mutex_unlock(&pool.lock);
	return NULL;
}

void
block_pool_start(size_t kept_max)
{
	sigset_t others;
	sigset_t before;

	(void)pthread_mutex_init(&pool.lock, NULL);
	(void)pthread_cond_init(&pool.wanted, NULL);
	for (size_t i = 0; i < CLASSES; i++) {
		(void)pthread_mutex_init(&pool.classes[i].lock, NULL);
	}
	pool.kept_max = kept_max;
	pool.ending = false;
	fault_set_others(&others);
	(void)pthread_sigmask(SIG_SETMASK, &others, &before);
	/* Without its thread the pool would free nothing, so it stays off. */
	atomic_store_explicit(&pool.running, pthread_create(&pool.thread, NULL, run, NULL) == 0, memory_order_release);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (atomic_load(&pool.running)) {
		(void)pthread_setname_np(pool.thread, "block pool");
	}
}

void
block_pool_stop(void)
{
	if (!atomic_exchange(&pool.running, false)) {
		return;
	}
	(void)pthread_mutex_lock(&pool.lock);
	pool.ending = true;
	(void)pthread_cond_signal(&pool.wanted);
	(void)pthread_mutex_unlock(&pool.lock);
	(void)pthread_join(pool.thread, NULL);
	free_surplus(0);
	free_huge();
}
