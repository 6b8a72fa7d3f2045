/* What shows that a model behind was loaded again, and what does not. */
#include "front/replica_view.h"

#include "base/unit_test.h"

#include <stdio.h>
#include <string.h>

static struct ledger *ledger;

static struct replica_view
view(const char *index, unsigned success, unsigned nanoseconds)
{
	struct replica_view read;
	struct error error;
	char statistics[256];

	(void)snprintf(statistics, sizeof(statistics),
		       "{\"model_stats\":[{\"name\":\"m\",\"version\":\"1\",\"inference_stats\":{\"success\":"
		       "{\"count\":%u,\"ns\":%u}}}]}",
		       success, nanoseconds);
	assert_int_equal(replica_view_read(&read, bytes_text(index), bytes_text(statistics), &error), STATUS_OK);
	replica_view_count_answers(&read, ledger, 0);
	return read;
}

#define READY "[{\"name\":\"m\",\"version\":\"1\",\"state\":\"READY\"}]"

static int
setup(void **state)
{
	(void)state;
	ledger = ledger_new(2);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	ledger_free(ledger);
	return 0;
}

static void
answer(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		ledger_add(ledger, bytes_text("m"), 1, 0);
	}
}

static void
compare(struct replica_view *before, struct replica_view now, const char *expected)
{
	const char *why = replica_view_compare(before, &now, false);

	if (expected == NULL) {
		assert_null(why);
	} else {
		assert_non_null(why);
		assert_non_null(strstr(why, expected));
	}
	replica_view_fini(before);
	*before = now;
}

static void
test_signs(void **state)
{
	static const struct {
		const char *index;
		unsigned success;
		unsigned nanoseconds;
		const char *why;
	} cases[] = {
		{READY, 10, 100, NULL},
		{READY, 11, 100, NULL},
		{READY, 9, 200, "statistics"},
		{READY, 10, 99, "statistics"},
		{"[]", 10, 100, "no longer ready"},
		{"[{\"name\":\"m\",\"version\":\"1\",\"state\":\"UNAVAILABLE\"}]", 10, 100, "no longer ready"},
		{"[{\"name\":\"m\",\"version\":\"2\",\"state\":\"READY\"}]", 10, 100, "no longer ready"},
		{"[{\"name\":\"m\",\"version\":\"1\",\"state\":\"READY\"},{\"name\":\"n\",\"version\":\"1\"}]", 10, 100,
		 "new"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct replica_view before = view(READY, 10, 100);

		replica_view_begin(&before, ledger, 0);
		compare(&before, view(cases[i].index, cases[i].success, cases[i].nanoseconds), cases[i].why);
		replica_view_fini(&before);
	}
}

/* A model is used and loaded again between two looks, when its counters were zero at the first. */
static void
test_answers_that_are_not_counted(void **state)
{
	struct replica_view last = view(READY, 0, 0);

	(void)state;
	replica_view_begin(&last, ledger, 0);
	answer(3);
	compare(&last, view(READY, 0, 0), NULL); /* statistics may lag behind */
	compare(&last, view(READY, 2, 9), "statistics");
	replica_view_fini(&last);
}

/* It stays missing, whatever is answered later. */
static void
test_answers_stay_missing(void **state)
{
	struct replica_view last = view(READY, 5, 0);

	(void)state;
	answer(7);
	replica_view_begin(&last, ledger, 0);
	answer(3);
	compare(&last, view(READY, 8, 0), NULL);
	answer(4);
	compare(&last, view(READY, 12, 0), NULL);
	compare(&last, view(READY, 12, 0), NULL);
	answer(2);
	compare(&last, view(READY, 13, 0), NULL);
	compare(&last, view(READY, 13, 0), "statistics");
	replica_view_fini(&last);
}

/* As one of our servers stops to tell them of a model that it cannot load again, and tells them once it has. */
static void
test_statistics_that_come_and_go(void **state)
{
	static const char unseen[] = "{\"model_stats\":[{\"name\":\"m\",\"version\":\"1\",\"unseen_changes\":true}]}";
	struct replica_view last = view(READY, 10, 100);
	struct replica_view without;
	struct error error;

	(void)state;
	assert_int_equal(replica_view_read(&without, bytes_text(READY), bytes_text(unseen), &error), STATUS_OK);
	assert_int_equal(without.versions[0].counter_count, 0);
	compare(&last, without, "statistics");
	compare(&last, view(READY, 20, 200), "statistics");
	compare(&last, view(READY, 20, 200), NULL);
	replica_view_fini(&last);
}

static void
test_without_statistics(void **state)
{
	struct replica_view views[2];
	struct error error;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(replica_view_read(&views[i], bytes_text(READY), bytes_text(""), &error), STATUS_OK);
		replica_view_count_answers(&views[i], ledger, 0);
		answer(3);
	}
	assert_null(replica_view_compare(&views[0], &views[1], false));
	replica_view_fini(&views[0]);
	replica_view_fini(&views[1]);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_signs),
		TEST(test_answers_that_are_not_counted),
		TEST(test_answers_stay_missing),
		TEST(test_without_statistics),
		TEST(test_statistics_that_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
