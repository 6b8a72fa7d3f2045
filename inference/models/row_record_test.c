#include "inference/models/row_record.h"

#include "base/unit_test.h"

static void
test_losses_outlive_the_model(void **state)
{
	static const uint8_t a[32] = {1};
	static const uint8_t b[32] = {2};
	struct row_record *first = row_record_get(bytes_make(a, sizeof(a)));
	struct row_record *again = row_record_get(bytes_make(a, sizeof(a)));
	struct row_record *other = row_record_get(bytes_make(b, sizeof(b)));
	int why;

	(void)state;
	assert_ptr_equal(first, again);
	assert_ptr_not_equal(first, other);
	assert_false(row_record_recall(first, 0.5, &why));
	row_record_lose(first, 3, 0.5);
	row_record_put(first);
	row_record_put(again);
	row_record_put(other);
	row_record_put(NULL);
	first = row_record_get(bytes_make(a, sizeof(a)));
	assert_int_equal(atomic_load(&first->losses), 1);
	assert_true(row_record_recall(first, 0.5, &why));
	assert_int_equal(why, 3);
	/* Another tolerance is another chance, but losses stay counted. */
	assert_false(row_record_recall(first, 0.75, &why));
	row_record_lose(first, 4, 0.75);
	assert_int_equal(atomic_load(&first->losses), 2);
	row_record_put(first);
	other = row_record_get(bytes_make(b, sizeof(b)));
	assert_int_equal(atomic_load(&other->losses), 0);
	row_record_put(other);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_losses_outlive_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
