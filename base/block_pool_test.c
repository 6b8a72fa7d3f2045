/* Includes the source, to pool blocks under AddressSanitizer, too. The pool's thread is not started: the tests call
 * block_pool_tick. */
#define BLOCK_POOL_OFF 0
#include "base/block_pool.c"

#include "base/unit_test.h"

#include <string.h>

#define SIZE ((size_t)600 * 1000)

static int
start(void **state)
{
	(void)state;
	for (size_t i = 0; i < CLASSES; i++) {
		(void)pthread_mutex_init(&pool.classes[i].lock, NULL);
	}
	pool.kept_max = 64 << 20;
	atomic_store(&pool.running, true);
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	atomic_store(&pool.running, false);
	free_surplus(0);
	free_huge();
	return 0;
}

static void
test_kept_for_the_next(void **state)
{
	uint16_t kind;
	void *first;
	void *second;

	(void)state;
	first = block_take(SIZE, &kind);
	assert_non_null(first);
	memset(first, 1, SIZE);
	block_give(first, kind);
	assert_true(block_pool_kept() >= SIZE);
	second = block_take(SIZE - 1000, &kind); /* of the same class */
	assert_ptr_equal(first, second);
	assert_int_equal(block_pool_kept(), 0);
	block_give(second, kind);
}

/* A block is freed at the second tick after its last use: it may have been in use just before the first. */
static void
test_freed_when_idle(void **state)
{
	uint16_t kind;
	void *blocks[3];

	(void)state;
	block_pool_tick();
	block_pool_tick();
	assert_int_equal(block_pool_kept(), 0);
	for (size_t i = 0; i < 3; i++) {
		blocks[i] = block_take(SIZE, &kind);
	}
	for (size_t i = 0; i < 3; i++) {
		block_give(blocks[i], kind);
	}
	block_pool_tick();
	assert_true(block_pool_kept() >= 3 * SIZE);
	blocks[0] = block_take(SIZE, &kind); /* one block is needed, two are idle */
	block_give(blocks[0], kind);
	block_pool_tick();
	assert_in_range(block_pool_kept(), SIZE, 2 * SIZE);
	block_pool_tick();
	assert_int_equal(block_pool_kept(), 0);
}

/* A block of every size can be written from its first to its last byte and given back. */
static void
test_sizes(void **state)
{
	uint16_t kind;

	(void)state;
	for (size_t size = 1; size < (size_t)40 << 20; size += size / 7 + 1) {
		uint8_t *block = block_take(size, &kind);

		assert_non_null(block);
		assert_in_range(block_room(size), size, size + size / 8 + 1);
		block[0] = 1;
		block[size - 1] = 1;
		block_give(block, kind);
	}
	block_give(NULL, 3);
	block_give(block_take((size_t)300 << 20, &kind), kind); /* larger than any class */
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_for_the_next),
		cmocka_unit_test(test_freed_when_idle),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
