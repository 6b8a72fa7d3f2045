/* The estimate of a connection's bandwidth; the test's clock. */
#include "grpc/bandwidth.h"

#include "base/clock.h"
#include "base/unit_test.h"

#define KB 1024U
#define START (256 * KB) /* of the window */
#define ROUND_TRIP (10 * NS_PER_MS)

static struct bandwidth
fresh(void)
{
	return (struct bandwidth){.window = START};
}

/* Receives `bytes` within one round trip that begins at `at_ns`. True: the window has grown. */
static bool
receive(struct bandwidth *bandwidth, uint32_t bytes, uint64_t at_ns)
{
	assert_true(bandwidth_received(bandwidth, 64 * KB, at_ns));
	assert_false(bandwidth_received(bandwidth, bytes - 64 * KB, at_ns + ROUND_TRIP / 2));
	return bandwidth_answered(bandwidth, at_ns + ROUND_TRIP);
}

/* A few bytes now and then are no bulk transfer: they cause no PING until there are 64 KiB. */
static void
test_a_trickle(void **state)
{
	struct bandwidth bandwidth = fresh();
	unsigned before = 0;

	(void)state;
	while (!bandwidth_received(&bandwidth, 1000, NS_PER_S)) {
		before++;
	}
	assert_int_equal(before, 65);
	assert_false(bandwidth_received(&bandwidth, 1 << 20, NS_PER_S)); /* one PING at a time */
}

static void
test_growth(void **state)
{
	struct bandwidth bandwidth = fresh();

	(void)state;
	assert_true(receive(&bandwidth, 256 * KB, NS_PER_S));
	assert_int_equal(bandwidth.window, 512 * KB);
	assert_true(receive(&bandwidth, 512 * KB, 2 * NS_PER_S));
	assert_int_equal(bandwidth.window, 1024 * KB);
}

/* Less than two thirds of the window: the sender is slower than the window allows. */
static void
test_a_slow_sender(void **state)
{
	struct bandwidth bandwidth = fresh();

	(void)state;
	assert_false(receive(&bandwidth, 170 * KB, NS_PER_S));
	assert_int_equal(bandwidth.window, START);
	assert_true(receive(&bandwidth, 171 * KB, 2 * NS_PER_S));
}

/* A full window at a rate that is not new would not be faster with a larger one. */
static void
test_the_same_rate(void **state)
{
	struct bandwidth bandwidth = fresh();

	(void)state;
	assert_true(receive(&bandwidth, 400 * KB, NS_PER_S));
	assert_false(receive(&bandwidth, 400 * KB, 2 * NS_PER_S));
	assert_int_equal(bandwidth.window, 512 * KB);
}

static void
test_the_largest_window(void **state)
{
	struct bandwidth bandwidth = fresh();
	uint64_t now = NS_PER_S;

	(void)state;
	for (uint32_t window = START; window < BANDWIDTH_WINDOW_MAX; window *= 2) {
		assert_true(receive(&bandwidth, window, now += NS_PER_S));
	}
	assert_int_equal(bandwidth.window, BANDWIDTH_WINDOW_MAX);
	assert_false(bandwidth_received(&bandwidth, 1 << 30, now)); /* nothing more to learn */
}

/* A clock that stands still, or a reply within its tick, divides by nothing. */
static void
test_no_time(void **state)
{
	struct bandwidth bandwidth = fresh();

	(void)state;
	assert_true(bandwidth_received(&bandwidth, 256 * KB, NS_PER_S));
	assert_true(bandwidth_answered(&bandwidth, NS_PER_S));
	assert_int_equal(bandwidth.window, 512 * KB);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_trickle),	   cmocka_unit_test(test_growth),
		cmocka_unit_test(test_a_slow_sender),	   cmocka_unit_test(test_the_same_rate),
		cmocka_unit_test(test_the_largest_window), cmocka_unit_test(test_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
