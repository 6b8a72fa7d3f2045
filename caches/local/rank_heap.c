#include "caches/local/rank_heap.h"

#include <stdlib.h>

bool
rank_heap_reserve(struct rank_heap *heap, size_t capacity)
{
	struct rank_slot *slots;

	if (capacity <= heap->capacity) {
		return true;
	}
	slots = reallocarray(heap->slots, capacity, sizeof(*slots));
	if (slots == NULL) {
		return false;
	}
	heap->slots = slots;
	heap->capacity = capacity;
	return true;
}

void
rank_heap_fini(struct rank_heap *heap)
{
	free(heap->slots);
	*heap = (struct rank_heap){0};
}

static void
fill_slot(struct rank_heap *heap, size_t at, struct rank_slot slot)
{
	heap->slots[at] = slot;
	slot.node->at = at;
}

static void
sift_up(struct rank_heap *heap, size_t at, struct rank_slot slot)
{
	while (at > 0) {
		size_t parent = (at - 1) / 2;

		if (heap->slots[parent].rank <= slot.rank) {
			break;
		}
		fill_slot(heap, at, heap->slots[parent]);
		at = parent;
	}
	fill_slot(heap, at, slot);
}

static void
sift_down(struct rank_heap *heap, size_t at, struct rank_slot slot)
{
	size_t child;

	while ((child = 2 * at + 1) < heap->count) {
		if (child + 1 < heap->count && heap->slots[child + 1].rank < heap->slots[child].rank) {
			child++;
		}
		if (slot.rank <= heap->slots[child].rank) {
			break;
		}
		fill_slot(heap, at, heap->slots[child]);
		at = child;
	}
	fill_slot(heap, at, slot);
}

/* Puts a slot into the free place `at`, and moves it up if it ranks below its parent, else down. */
static void
sift(struct rank_heap *heap, size_t at, struct rank_slot slot)
{
	if (at > 0 && slot.rank < heap->slots[(at - 1) / 2].rank) {
		sift_up(heap, at, slot);
	} else {
		sift_down(heap, at, slot);
	}
}

void
rank_heap_insert(struct rank_heap *heap, struct rank_node *node, double rank)
{
	heap->count++;
	sift_up(heap, heap->count - 1, (struct rank_slot){rank, node});
}

void
rank_heap_remove(struct rank_heap *heap, struct rank_node *node)
{
	size_t at = node->at;

	heap->count--;
	if (at < heap->count) {
		sift(heap, at, heap->slots[heap->count]);
	}
}

void
rank_heap_change(struct rank_heap *heap, struct rank_node *node, double rank)
{
	sift(heap, node->at, (struct rank_slot){rank, node});
}
