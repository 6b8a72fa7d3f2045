/*
 * A binary heap of ranked nodes: the one of least rank is found at once; one is inserted, removed or ranked anew in
 * O(log n). The owner embeds a rank_node in what it ranks, and owns that; the heap holds pointers to them. No locks.
 */
#ifndef HIPPOCAMP_CACHES_LOCAL_RANK_HEAP_H
#define HIPPOCAMP_CACHES_LOCAL_RANK_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct rank_node {
	size_t at; /* the heap's: its slot */
};

struct rank_slot {
	double rank; /* beside the pointer, so that comparing ranks does not touch the nodes */
	struct rank_node *node;
};

/* Zeroed: empty. */
struct rank_heap {
	struct rank_slot *slots;
	size_t count;
	size_t capacity;
};

/* Makes place for so many nodes in all. Returns false when memory runs out; the heap then stays as it is. */
bool rank_heap_reserve(struct rank_heap *heap, size_t capacity);

/* Frees the slots, not the nodes. */
void rank_heap_fini(struct rank_heap *heap);

/* The caller has reserved the place. */
void rank_heap_insert(struct rank_heap *heap, struct rank_node *node, double rank);
void rank_heap_remove(struct rank_heap *heap, struct rank_node *node);
void rank_heap_change(struct rank_heap *heap, struct rank_node *node, double rank);

/* The slot of least rank, or NULL where the heap is empty. It is valid until the next change. */
static inline const struct rank_slot *
rank_heap_least(const struct rank_heap *heap)
{
	return heap->count == 0 ? NULL : &heap->slots[0];
}

#endif
