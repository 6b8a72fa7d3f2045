#include "base/clock.h"
#include "plugins/latency_breaker.h"

#include "base/unit_test.h"

#define START (UINT64_C(4294967000) * NS_PER_MS) /* the 32 bits of milliseconds wrap in the test */
#define TIMEOUT (5 * NS_PER_MS)

static struct digest_value
digest_of(uint8_t number)
{
	return (struct digest_value){.bytes = {number, 1}, .length = 16};
}

/* A look-up that began then and ended TIMEOUT later. */
static enum latency_breaker_change
late(struct latency_breaker *latency_breaker, uint8_t number, uint64_t start_ns)
{
	struct digest_value digest = digest_of(number);

	return latency_breaker_note(latency_breaker, &digest, true, start_ns, start_ns + TIMEOUT);
}

static enum latency_breaker_change
in_time(struct latency_breaker *latency_breaker, uint8_t number, uint64_t start_ns)
{
	struct digest_value digest = digest_of(number);

	return latency_breaker_note(latency_breaker, &digest, false, start_ns, start_ns + NS_PER_MS);
}

static bool
allows(struct latency_breaker *latency_breaker, uint8_t number, uint64_t now_ns)
{
	struct digest_value digest = digest_of(number);

	return latency_breaker_allows(latency_breaker, &digest, now_ns);
}

static void
test_one_key_that_is_late(void **state)
{
	struct latency_breaker latency_breaker = {0};

	(void)state;
	assert_true(allows(&latency_breaker, 1, START));
	assert_int_equal(late(&latency_breaker, 1, START), LATENCY_BREAKER_AS_BEFORE);
	assert_true(allows(&latency_breaker, 1, START + 10 * NS_PER_MS)); /* once may be chance */
	assert_int_equal(late(&latency_breaker, 1, START + 10 * NS_PER_MS), LATENCY_BREAKER_AS_BEFORE);
	assert_false(allows(&latency_breaker, 1, START + 10 * NS_PER_MS)); /* by a thread that read the clock before */
	assert_false(allows(&latency_breaker, 1, START + 500 * NS_PER_MS));
	assert_true(allows(&latency_breaker, 2, START + 500 * NS_PER_MS));
	assert_true(allows(&latency_breaker, 1, START + 600 * NS_PER_MS));
	assert_int_equal(in_time(&latency_breaker, 1, START + 600 * NS_PER_MS), LATENCY_BREAKER_AS_BEFORE);
	assert_true(allows(&latency_breaker, 1, START + 610 * NS_PER_MS));
}

/* One delay counts once, however many look-ups it makes late. */
static void
test_many_at_a_time(void **state)
{
	struct latency_breaker latency_breaker = {0};

	(void)state;
	for (uint8_t i = 0; i < 100; i++) {
		assert_int_equal(late(&latency_breaker, i % 4, START + i * NS_PER_MS / 50), LATENCY_BREAKER_AS_BEFORE);
	}
	for (uint8_t i = 0; i < 4; i++) {
		assert_true(allows(&latency_breaker, i, START + 10 * NS_PER_MS));
	}
}

static void
test_a_store_that_is_slow(void **state)
{
	struct latency_breaker latency_breaker = {0};
	uint64_t now_ns = START;
	unsigned allowed = 0;

	(void)state;
	for (uint8_t i = 0; i < 20; i++) {
		assert_true(allows(&latency_breaker, i, now_ns));
		assert_int_equal(late(&latency_breaker, i, now_ns),
				 i == 19 ? LATENCY_BREAKER_LOST : LATENCY_BREAKER_AS_BEFORE);
		now_ns += TIMEOUT;
	}
	for (uint64_t ms = 0; ms < 1000; ms++) {
		allowed += allows(&latency_breaker, 200, now_ns + ms * NS_PER_MS);
	}
	assert_int_equal(allowed, 9);
	assert_int_equal(late(&latency_breaker, 200, now_ns + 1000 * NS_PER_MS), LATENCY_BREAKER_AS_BEFORE);
	assert_true(allows(&latency_breaker, 200, now_ns + 2000 * NS_PER_MS));
	assert_int_equal(in_time(&latency_breaker, 200, now_ns + 2000 * NS_PER_MS), LATENCY_BREAKER_FOUND);
	assert_true(allows(&latency_breaker, 200, now_ns + 2000 * NS_PER_MS));
	assert_int_equal(in_time(&latency_breaker, 200, now_ns + 2000 * NS_PER_MS), LATENCY_BREAKER_AS_BEFORE);
}

/* A large value that is late says nothing about the store. */
static void
test_large_values(void **state)
{
	struct latency_breaker latency_breaker = {0};
	struct digest_value large = digest_of(1);
	struct digest_value small = digest_of(2);

	(void)state;
	assert_int_equal(latency_breaker_size(&latency_breaker, &large), 0);
	latency_breaker_note_size(&latency_breaker, &large, (size_t)1 << 40);
	latency_breaker_note_size(&latency_breaker, &small, 100);
	assert_int_equal(latency_breaker_size(&latency_breaker, &large), UINT32_MAX);
	assert_int_equal(latency_breaker_size(&latency_breaker, &small), 100);
	for (uint64_t i = 0; i < 50; i++) {
		assert_int_equal(late(&latency_breaker, 1, START + i * 10 * NS_PER_MS), LATENCY_BREAKER_AS_BEFORE);
	}
	assert_true(allows(&latency_breaker, 2, START + 500 * NS_PER_MS));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_key_that_is_late),
		cmocka_unit_test(test_many_at_a_time),
		cmocka_unit_test(test_a_store_that_is_slow),
		cmocka_unit_test(test_large_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
