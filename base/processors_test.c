#include "base/processors.h"

#include "base/unit_test.h"

#include <sched.h>
#include <unistd.h>

static void
test_affinity_counts(void **state)
{
	cpu_set_t before;
	cpu_set_t one;
	size_t processor = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(processors_usable(), CPU_COUNT(&before));
	while (!CPU_ISSET(processor, &before)) {
		processor++;
	}
	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(processors_usable(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_affinity_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
