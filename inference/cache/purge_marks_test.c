#include "inference/cache/purge_marks.h"

#include "base/unit_test.h"

#include <stdio.h>

#define NONE bytes_make("", 0)

static bool
covered(struct purge_marks *marks, const char *model, int64_t version, uint64_t created_ms)
{
	struct purge_marks_seen seen = {0};

	return purge_marks_covers(marks, &seen, bytes_text(model), version, created_ms);
}

static void
test_what_is_covered(void **state)
{
	struct purge_marks marks;

	(void)state;
	purge_marks_init(&marks);
	assert_false(covered(&marks, "a", 1, 1));
	purge_marks_add(&marks, bytes_text("a"), bytes_text("1"), 1000, 1000);
	assert_true(covered(&marks, "a", 1, 999));
	assert_true(covered(&marks, "a", 1, 1));
	assert_false(covered(&marks, "a", 1, 1000));
	assert_false(covered(&marks, "a", 2, 999));
	assert_false(covered(&marks, "b", 1, 999));
	purge_marks_add(&marks, bytes_text("a"), NONE, 2000, 2000);
	assert_true(covered(&marks, "a", 1, 1999));
	assert_true(covered(&marks, "a", 2, 1999));
	assert_false(covered(&marks, "aa", 1, 999));
	purge_marks_add(&marks, bytes_text("a"), NONE, 1500, 1500); /* a clock set back: the limit stays */
	assert_true(covered(&marks, "a", 2, 1999));
	purge_marks_add(&marks, NONE, NONE, 1800,
			1800); /* an earlier one of everything: the mark of "a" still counts */
	assert_true(covered(&marks, "a", 2, 1999));
	assert_true(covered(&marks, "b", 7, 1799));
	purge_marks_add(&marks, NONE, NONE, 3000, 3000);
	assert_true(covered(&marks, "b", 7, 2999));
	assert_false(covered(&marks, "b", 7, 3000));
	purge_marks_fini(&marks);
}

static void
test_a_model_sees_later_marks(void **state)
{
	struct purge_marks_seen seen = {0};
	struct purge_marks marks;

	(void)state;
	purge_marks_init(&marks);
	assert_false(purge_marks_covers(&marks, &seen, bytes_text("a"), 1, 5));
	purge_marks_add(&marks, bytes_text("a"), NONE, 10, 10);
	assert_true(purge_marks_covers(&marks, &seen, bytes_text("a"), 1, 5));
	purge_marks_add(&marks, bytes_text("b"), NONE, 20, 20);
	assert_true(purge_marks_covers(&marks, &seen, bytes_text("a"), 1, 5));
	assert_false(purge_marks_covers(&marks, &seen, bytes_text("a"), 1, 15));
	purge_marks_fini(&marks);
}

/* Beyond PURGE_MARKS_MAX, everything counts as purged, so that no purge is lost. */
static void
test_many(void **state)
{
	struct purge_marks marks;
	char name[16];

	(void)state;
	purge_marks_init(&marks);
	for (uint64_t i = 0; i < 3 * PURGE_MARKS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "m%llu", (unsigned long long)i);
		purge_marks_add(&marks, bytes_text(name), NONE, 100 + i, 100 + i);
		assert_true(covered(&marks, name, 1, 99 + i));
		assert_true(covered(&marks, "m0", 1, 99));
		assert_false(covered(&marks, name, 1, 100 + i));
	}
	purge_marks_fini(&marks);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_covered),
		cmocka_unit_test(test_a_model_sees_later_marks),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
