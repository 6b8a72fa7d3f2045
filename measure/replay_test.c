#include "measure/replay.h"

#include "base/clock.h"

#include "base/unit_test.h"

static void
test_keys_are_numbered_as_they_appear(void **state)
{
	const struct replay_request requests[] = {{900, 5000}, {7, 5000}, {900, 5002}, {8, 5010}, {7, 5020}};
	const uint64_t numbers[] = {0, 1, 0, 2, 1};
	const uint64_t times_ms[] = {0, 0, 2, 10, 20};
	struct replay *replay = replay_new(requests, 5);

	(void)state;
	assert_int_equal(replay_count(replay), 5);
	assert_int_equal(replay_distinct(replay), 3);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(replay_number(replay, i), numbers[i]);
		assert_int_equal(replay_time_ns(replay, i), times_ms[i] * NS_PER_MS);
	}
	assert_true(replay_time_ns(replay, 5) > UINT64_C(1000000) * NS_PER_S);
	assert_true(replay_rate(replay) == 250);
	replay_free(replay);
}

static void
test_a_single_moment(void **state)
{
	const struct replay_request requests[] = {{3, 9}, {3, 9}};
	struct replay *replay = replay_new(requests, 2);

	(void)state;
	assert_int_equal(replay_distinct(replay), 1);
	assert_true(replay_rate(replay) == 2000);
	replay_free(replay);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_are_numbered_as_they_appear),
		cmocka_unit_test(test_a_single_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
