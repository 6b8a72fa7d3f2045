#include "measure/report.h"

#include "base/unit_test.h"

#include <stdlib.h>

#define ROUNDS 6
#define TEXT_MAX ((size_t)64 * 1024)

/* Fills the rounds of one cell with `mean` and noise around it, in ns. */
static void
fill(struct comparison *comparison, enum variant_kind kind, enum workload workload, double mean, double noise)
{
	for (size_t i = 0; i < ROUNDS; i++) {
		comparison->cells[kind][workload][0].means[i] = mean + noise * ((double)(i % 3) - 1);
	}
}

/* Without a cache a request takes 1 ms; Redis was not measured. */
static struct comparison *
make(double hit_us, double new_us, double noise_us)
{
	struct comparison *comparison = calloc(1, sizeof(*comparison));

	assert_non_null(comparison);
	comparison->rounds = ROUNDS;
	comparison->checked = 16;
	comparison->has[VARIANT_NONE] = comparison->has[VARIANT_LOCAL] = true;
	fill(comparison, VARIANT_NONE, WORKLOAD_REPEATED, 1e6, 0);
	fill(comparison, VARIANT_NONE, WORKLOAD_NEW, 1e6, 0);
	fill(comparison, VARIANT_LOCAL, WORKLOAD_REPEATED, hit_us * 1e3, noise_us * 1e3);
	fill(comparison, VARIANT_LOCAL, WORKLOAD_NEW, new_us * 1e3, noise_us * 1e3);
	return comparison;
}

static void
expect(struct comparison *comparison, const char *said)
{
	struct buf text;

	buf_init(&text, TEXT_MAX);
	report_recommendation(comparison, &text);
	buf_byte(&text, '\0');
	if (strstr((const char *)text.at, said) == NULL) {
		fail_msg("\"%s\" does not say \"%s\"", (const char *)text.at, said);
	}
	buf_fini(&text);
	free(comparison);
}

static void
test_what_is_recommended(void **state)
{
	(void)state;
	expect(make(100, 1100, 1), "Use the local cache. A hit takes 100 µs instead of 1");
	expect(make(100, 1100, 1), "from a hit ratio of 10.0 % on.");
	expect(make(100, 1000, 50), "from a hit ratio of 5.3 % on at the latest.");
	expect(make(100, 990, 1), "at any hit ratio.");
	expect(make(2000, 1100, 1), "The local cache does not pay for this model. A hit takes 2");
	expect(make(1000, 1100, 50), "smaller than the noise of this measurement.");
	expect(make(100, 1100, 1), "Redis was not measured.");
}

/* What cannot be told is not. */
static void
test_what_is_not_known(void **state)
{
	struct comparison *comparison = make(100, 100, 1);

	(void)state;
	comparison->new_is_known = true;
	expect(comparison, "what a miss costs cannot be told, since there were too few inputs.");
	comparison = make(100, 1100, 1);
	comparison->different = 3;
	expect(comparison, "Use no cache before this is understood: of 16 inputs, 3 were answered in different bytes");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_recommended),
					   cmocka_unit_test(test_what_is_not_known)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
