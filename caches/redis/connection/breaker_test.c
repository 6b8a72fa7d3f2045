#include "base/clock.h"
#include "caches/redis/connection/breaker.h"

#include "base/unit_test.h"

#define NOW (UINT64_C(7000) * NS_PER_MS)

/* Fails until the breaker opens. Returns how many failures that took. */
static unsigned int
fail_until_open(struct breaker *breaker, uint32_t random)
{
	unsigned int count = 1;

	while (!breaker_failed(breaker, NOW, random)) {
		assert_true(breaker_allows(breaker));
		assert_true(count < 100);
		count++;
	}
	assert_false(breaker_allows(breaker));
	return count;
}

static void
succeed(struct breaker *breaker, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		assert_false(breaker_succeeded(breaker));
		assert_true(breaker_allows(breaker));
	}
}

static void
probe_succeeds(struct breaker *breaker)
{
	breaker_begin_probe(breaker);
	assert_false(breaker_allows(breaker));
	assert_true(breaker_succeeded(breaker));
	assert_true(breaker_allows(breaker));
}

static void
test_failures_in_a_row(void **state)
{
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	assert_true(breaker_allows(&breaker));
	assert_int_equal(fail_until_open(&breaker, 0), 5);
	assert_int_equal(breaker.state, BREAKER_OPEN);
	breaker_init(&breaker);
	for (int i = 0; i < 4; i++) {
		assert_false(breaker_failed(&breaker, NOW, 0));
	}
	succeed(&breaker, 10);
	assert_int_equal(fail_until_open(&breaker, 0), 5);
}

/* Successes and failures in turn: half fail, which counts from the twentieth outcome on. */
static void
test_half_fail(void **state)
{
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	for (int i = 0; i < 10; i++) {
		succeed(&breaker, 1);
		assert_int_equal(breaker_failed(&breaker, NOW, 0), i == 9);
	}
	assert_int_equal(breaker.state, BREAKER_OPEN);
}

static void
test_less_than_half_fail(void **state)
{
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	for (int i = 0; i < 1000; i++) {
		succeed(&breaker, 3);
		assert_false(breaker_failed(&breaker, NOW, 0));
		assert_false(breaker_failed(&breaker, NOW, 0));
	}
	assert_true(breaker_allows(&breaker));
}

/* Old successes are forgotten: only the last 64 outcomes count. */
static void
test_window(void **state)
{
	struct breaker breaker;
	int failed = 0;

	(void)state;
	breaker_init(&breaker);
	succeed(&breaker, 10000);
	for (int i = 0; breaker_allows(&breaker); i++) {
		if (i % 4 == 0) {
			succeed(&breaker, 1);
		} else {
			failed++;
			(void)breaker_failed(&breaker, NOW, 0);
		}
	}
	assert_int_equal(failed, 32);
}

static void
test_backoff(void **state)
{
	static const uint64_t backoffs_ms[] = {50, 100, 200, 400, 800, 1000, 1000, 1000};
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	(void)fail_until_open(&breaker, 0);
	for (size_t i = 0; i < sizeof(backoffs_ms) / sizeof(*backoffs_ms); i++) {
		assert_int_equal(breaker_probe_at(&breaker), NOW + backoffs_ms[i] * NS_PER_MS / 2);
		breaker_begin_probe(&breaker);
		assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
		assert_false(breaker_failed(&breaker, NOW, 0));
		assert_int_equal(breaker.state, BREAKER_OPEN);
	}
}

static void
test_jitter(void **state)
{
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	(void)fail_until_open(&breaker, UINT32_MAX);
	assert_in_range(breaker_probe_at(&breaker), NOW + 50 * NS_PER_MS - 1, NOW + 50 * NS_PER_MS);
	breaker_init(&breaker);
	(void)fail_until_open(&breaker, UINT32_C(1) << 31);
	assert_int_equal(breaker_probe_at(&breaker), NOW + 50 * NS_PER_MS * 3 / 4);
	breaker_begin_probe(&breaker);
	for (int i = 0; i < 10; i++) {
		(void)breaker_failed(&breaker, NOW, UINT32_MAX);
		breaker_begin_probe(&breaker);
	}
	(void)breaker_failed(&breaker, NOW, UINT32_MAX);
	assert_in_range(breaker_probe_at(&breaker), NOW + 1000 * NS_PER_MS - 1, NOW + 1000 * NS_PER_MS);
}

static void
test_backoff_starts_anew(void **state)
{
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	(void)fail_until_open(&breaker, 0);
	probe_succeeds(&breaker);
	assert_int_equal(fail_until_open(&breaker, 0), 5);
	assert_int_equal(breaker_probe_at(&breaker), NOW + 50 * NS_PER_MS); /* of 100 */
	probe_succeeds(&breaker);
	succeed(&breaker, 19);
	assert_false(breaker_failed(&breaker, NOW, 0));
	succeed(&breaker, 19);
	assert_int_equal(fail_until_open(&breaker, 0), 5);
	assert_int_equal(breaker_probe_at(&breaker), NOW + 100 * NS_PER_MS); /* of 200 */
	probe_succeeds(&breaker);
	succeed(&breaker, 20);
	assert_int_equal(fail_until_open(&breaker, 0), 5);
	assert_int_equal(breaker_probe_at(&breaker), NOW + 25 * NS_PER_MS);
}

/* Failures before the opening do not count after the closing. */
static void
test_closing_forgets(void **state)
{
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	(void)fail_until_open(&breaker, 0);
	probe_succeeds(&breaker);
	for (int i = 0; i < 4; i++) {
		assert_false(breaker_failed(&breaker, NOW, 0));
	}
	succeed(&breaker, 20);
	assert_true(breaker_allows(&breaker));
}

static void
test_late_results(void **state)
{
	struct breaker breaker;
	struct breaker before;

	(void)state;
	breaker_init(&breaker);
	(void)fail_until_open(&breaker, 0);
	before = breaker;
	for (int i = 0; i < 100; i++) {
		assert_false(breaker_failed(&breaker, NOW + 10 * NS_PER_MS, 99));
		assert_false(breaker_succeeded(&breaker));
		assert_false(breaker_open_now(&breaker, NOW + 10 * NS_PER_MS, 99));
	}
	assert_memory_equal(&breaker, &before, sizeof(breaker));
}

static void
test_open_now(void **state)
{
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	assert_true(breaker_open_now(&breaker, NOW, 0));
	assert_int_equal(breaker_probe_at(&breaker), NOW + 25 * NS_PER_MS);
	breaker_begin_probe(&breaker);
	assert_false(breaker_open_now(&breaker, NOW, 0));
	assert_int_equal(breaker.state, BREAKER_OPEN);
	assert_int_equal(breaker_probe_at(&breaker), NOW + 50 * NS_PER_MS);
	probe_succeeds(&breaker);
}

static void
test_probe_only_where_open(void **state)
{
	struct breaker breaker;

	(void)state;
	breaker_init(&breaker);
	breaker_begin_probe(&breaker);
	assert_true(breaker_allows(&breaker));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures_in_a_row),
		cmocka_unit_test(test_half_fail),
		cmocka_unit_test(test_less_than_half_fail),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_backoff_starts_anew),
		cmocka_unit_test(test_closing_forgets),
		cmocka_unit_test(test_late_results),
		cmocka_unit_test(test_open_now),
		cmocka_unit_test(test_probe_only_where_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
