#include "measure/profile.h"

#include "base/memory.h"
#include "base/unit_test.h"

#include <stdlib.h>

#define S UINT64_C(1000000000)

static const struct profile_options options = {.stability = 0.1};

static void
set(struct load_window *window, size_t requests, uint64_t latency)
{
	*window = (struct load_window){.begun_ns = S, .ended_ns = 2 * S};
	for (size_t i = 0; i < requests; i++) {
		latencies_add(&window->latency, latency);
	}
}

static bool
is_stable(const size_t requests[3], const uint64_t latencies[3], size_t count)
{
	struct load_window *windows = memory_array(3, sizeof(*windows));
	bool stable;

	for (size_t i = 0; i < 3; i++) {
		set(&windows[i], requests[i], latencies[i]);
	}
	stable = profile_is_stable(windows, count, &options);
	free(windows);
	return stable;
}

static void
test_stability(void **state)
{
	const uint64_t same[] = {1000, 1000, 1000};

	(void)state;
	assert_true(is_stable((const size_t[]){100, 105, 95}, same, 3));
	assert_false(is_stable((const size_t[]){100, 105, 95}, same, 2)); /* too few */
	assert_false(is_stable((const size_t[]){100, 130, 100}, same, 3));
	assert_false(is_stable((const size_t[]){100, 100, 100}, (const uint64_t[]){1000, 1000, 2000}, 3));
	assert_false(is_stable((const size_t[]){0, 0, 0}, same, 3)); /* nothing was answered */
}

static void
test_throughput(void **state)
{
	struct measurement *measurement = memory_new(sizeof(*measurement));

	(void)state;
	assert_true(measurement_throughput(measurement, 1) == 0);
	set(&measurement->window, 50, 1000);
	measurement->ns = S / 2;
	assert_true(measurement_throughput(measurement, 0) == 100);
	assert_true(measurement_throughput(measurement, 4) == 400);
	free(measurement);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_stability), cmocka_unit_test(test_throughput)};

	return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
