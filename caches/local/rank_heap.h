/*
 * A binary heap of ranked nodes: finding the node of least rank takes O(1); inserting, removing or re-ranking a node
 * takes O(log n). The caller embeds a rank_node in each thing that it ranks, which it owns; the heap holds pointers to
 * the nodes. No locks.
 */
#ifndef HIPPOCAMP_CACHES_LOCAL_RANK_HEAP_H
#define HIPPOCAMP_CACHES_LOCAL_RANK_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct rank_node {
	size_t at; /* its slot; for the heap only */
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

/* The caller has reserved a slot before. */
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
