#include "caches/local/rank_heap.h"

#include "base/container_of.h"
#include "base/unit_test.h"

#include <stdlib.h>

#define COUNT 200

struct thing {
	struct rank_node node;
	double rank;
	bool in;
};

/* Does the first slot have the least rank of all, and does each node know its slot? */
static void
check(const struct rank_heap *heap, const struct thing *things)
{
	const struct rank_slot *least = rank_heap_least(heap);
	size_t count = 0;

	for (size_t i = 0; i < COUNT; i++) {
		if (things[i].in) {
			count++;
			assert_true(least->rank <= things[i].rank);
			assert_ptr_equal(heap->slots[things[i].node.at].node, &things[i].node);
			assert_true(heap->slots[things[i].node.at].rank == things[i].rank);
		}
	}
	assert_int_equal(heap->count, count);
	assert_true((least == NULL) == (count == 0));
}

static void
test_random_changes(void **state)
{
	struct thing things[COUNT] = {0};
	struct rank_heap heap = {0};

	(void)state;
	srand(1);
	assert_true(rank_heap_reserve(&heap, COUNT));
	for (int turn = 0; turn < 20000; turn++) {
		struct thing *thing = &things[rand() % COUNT];
		double rank = rand() % 50; /* many are equal */

		if (!thing->in) {
			thing->rank = rank;
			rank_heap_insert(&heap, &thing->node, rank);
			thing->in = true;
		} else if (rand() % 2 == 0) {
			rank_heap_remove(&heap, &thing->node);
			thing->in = false;
		} else {
			thing->rank = rank;
			rank_heap_change(&heap, &thing->node, rank);
		}
		check(&heap, things);
	}
	rank_heap_fini(&heap);
}

static void
test_comes_out_in_order(void **state)
{
	struct thing things[COUNT] = {0};
	struct rank_heap heap = {0};
	double last = -1;

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		assert_true(rank_heap_reserve(&heap, i + 1));
		rank_heap_insert(&heap, &things[i].node, (double)(i * 7919 % COUNT));
	}
	while (rank_heap_least(&heap) != NULL) {
		assert_true(rank_heap_least(&heap)->rank > last);
		last = rank_heap_least(&heap)->rank;
		rank_heap_remove(&heap, rank_heap_least(&heap)->node);
	}
	assert_true(last == COUNT - 1);
	rank_heap_fini(&heap);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_changes),
		cmocka_unit_test(test_comes_out_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
