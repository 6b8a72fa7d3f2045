#include "simulation/simulation.h"

#include "base/unit_test.h"
#include "caches/local/shard.h"
#include "simulation/lru.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD "time_ms,model,version,key,bytes,cost_us,outcome,share\n"

/* --- Files --- */

static void
test_lines(void **state)
{
	struct trace trace = {0};
	struct error error;

	(void)state;
	assert_int_equal(trace_parse(&trace,
				     bytes_text(HEAD "5,\"a\",1,00000000000000ff,300,20,hit,1\n" HEAD
						     "7,\"a \"\",\"\" b\",1,00000000000000ff,300,20,miss,1\n"
						     "6,\"a\",2,00000000000000ff,300,20,miss,1\n"
						     "8,\"a\",1,00000000000000ff,300,20,miss,1\n"
						     "8,\"a\",1,00000000000000ff,300,20,miss,0.0?\n"
						     "9,\"a\",1,00000000000000ff,300,20,miss,1"),
				     &error),
			 STATUS_OK);
	assert_int_equal(trace.count, 4);
	assert_int_equal(trace.skipped, 2); /* those that are not whole */
	assert_int_equal(trace.lookups[0].time_ms, 5);
	assert_int_equal(trace.lookups[0].bytes, 300);
	assert_int_equal(trace.lookups[0].cost_us, 20);
	assert_true(trace.lookups[0].key == trace.lookups[3].key);
	assert_true(trace.lookups[0].key != trace.lookups[1].key); /* another model */
	assert_true(trace.lookups[0].key != trace.lookups[2].key); /* another version */
	assert_int_equal(trace_parse(&trace, bytes_text(HEAD "1,\"b\",1,0000000000000001,1,1,hit,1\n"), &error),
			 STATUS_OK);
	assert_int_equal(trace.servers, 2);
	assert_int_not_equal(trace_parse(&trace, bytes_text(HEAD "1,\"b\",1,0000000000000001,1,1,hit,0.5\n"), &error),
			     STATUS_OK);
	assert_non_null(strstr(error.text, "the same --record-share"));
	trace_sort(&trace);
	assert_int_equal(trace.lookups[0].time_ms, 1);
	assert_int_equal(trace.lookups[0].server, 1);
	assert_int_equal(trace.lookups[4].time_ms, 8);
	trace_fini(&trace);
}

static void
test_what_is_no_record(void **state)
{
	static const char *const texts[] = {"",
					    "x\n",
					    HEAD,
					    HEAD "1,a,1,0000000000000001,1,1,hit,1\n",
					    HEAD "1,\"a\",1,00000001,1,1,hit,1\n",
					    HEAD "x,\"a\",1,0000000000000001,1,1,hit,1\n",
					    HEAD "1,\"a\",1,0000000000000001,1,1\n",
					    HEAD "1,\"a"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct trace trace = {0};
		struct error error;

		assert_int_not_equal(trace_parse(&trace, bytes_text(texts[i]), &error), STATUS_OK);
		trace_fini(&trace);
	}
}

/* --- LRU --- */

static void
test_lru(void **state)
{
	struct lru *lru = lru_new(100);

	(void)state;
	lru_put(lru, 1, 40, 0);
	lru_put(lru, 2, 40, 0);
	assert_true(lru_get(lru, 1, 0));
	lru_put(lru, 3, 40, 0); /* pushes out 2, which was used before 1 */
	assert_false(lru_get(lru, 2, 0));
	assert_true(lru_get(lru, 1, 0) && lru_get(lru, 3, 0));
	lru_put(lru, 4, 101, 0); /* does not fit at all */
	assert_int_equal(lru_evictions(lru), 1);
	lru_put(lru, 5, 10, 1000);
	assert_true(lru_get(lru, 5, 999));
	assert_false(lru_get(lru, 5, 1000));
	assert_int_equal(lru_used(lru), 80);
	for (uint64_t key = 100; key < 10000; key++) {
		lru_put(lru, key, 0, 0);
	}
	assert_true(lru_get(lru, 100, 0) && lru_get(lru, 9999, 0) && lru_get(lru, 1, 0));
	lru_free(lru);
	lru_free(NULL);
}

/* --- Simulation --- */

/* `count` look-ups, in turns, of `keys` questions whose answers have 1,000 bytes, on each of `servers`. */
static struct trace
make_trace(size_t count, uint64_t keys, size_t servers)
{
	struct trace trace = {
		.lookups = calloc(count, sizeof(struct lookup)), .count = count, .servers = servers, .share = 1};

	for (size_t i = 0; i < count; i++) {
		trace.lookups[i] = (struct lookup){.time_ms = i + 1,
						   .key = (i / servers % keys) * UINT64_C(0x9e3779b97f4a7c15),
						   .cost_us = 100,
						   .bytes = 1000,
						   .server = (uint32_t)(i % servers)};
	}
	return trace;
}

static struct simulation_result
run(const struct trace *trace, enum simulated_store store, uint64_t size, uint64_t ttl_ms, double share)
{
	const struct simulation_options options = {.store = store, .size = size, .ttl_ms = ttl_ms, .share = share};
	struct simulation_result result;

	assert_true(simulate(trace, &options, &result));
	return result;
}

static void
test_sizes(void **state)
{
	struct trace trace = make_trace(10000, 100, 1);
	uint64_t all = simulated_footprint(&trace, SIMULATED_LOCAL).bytes;

	(void)state;
	assert_int_equal(all, 100 * shard_charge(1000));
	assert_int_equal(simulated_footprint(&trace, SIMULATED_LOCAL).keys, 100);
	assert_true(fabs(run(&trace, SIMULATED_LOCAL, all, 0, 1).hit_ratio - 0.99) < 1e-9);
	assert_true(fabs(run(&trace, SIMULATED_REDIS, all, 0, 1).hit_ratio - 0.99) < 1e-9);
	/* In turns, LRU drops each one just before it comes again; the local store keeps some. */
	assert_true(run(&trace, SIMULATED_REDIS, all / 2, 0, 1).hit_ratio == 0);
	assert_true(run(&trace, SIMULATED_LOCAL, all / 2, 0, 1).hit_ratio > 0.2);
	assert_true(run(&trace, SIMULATED_LOCAL, all / 2, 0, 1).evictions > 0);
	trace_fini(&trace);
}

static void
test_servers_that_share(void **state)
{
	struct trace trace = make_trace(400, 100, 2); /* each question twice on each server */

	(void)state;
	assert_true(fabs(run(&trace, SIMULATED_LOCAL, 1 << 20, 0, 1).hit_ratio - 0.5) < 1e-9);
	assert_true(fabs(run(&trace, SIMULATED_REDIS, 1 << 20, 0, 1).hit_ratio - 0.75) < 1e-9);
	trace_fini(&trace);
}

static void
test_ttl(void **state)
{
	struct trace trace = make_trace(1000, 10, 1); /* each again after 10 ms */

	(void)state;
	for (enum simulated_store store = SIMULATED_LOCAL; store <= SIMULATED_REDIS; store++) {
		assert_true(run(&trace, store, 1 << 20, 10, 1).hit_ratio == 0);
		assert_true(fabs(run(&trace, store, 1 << 20, 11, 1).hit_ratio - 0.5) < 1e-9);
		assert_true(fabs(run(&trace, store, 1 << 20, 0, 1).saved_share - 0.99) < 1e-9);
	}
	trace_fini(&trace);
}

/* A sample of the keys tells about the same. Some are asked for more often than others. */
static void
test_samples(void **state)
{
	struct trace trace = make_trace(200000, 20000, 1);
	uint64_t random = 1;

	(void)state;
	for (uint64_t i = 0; i < trace.count; i++) {
		uint64_t one;

		random = random * UINT64_C(6364136223846793005) + 1;
		one = random >> 40;
		random = random * UINT64_C(6364136223846793005) + 1;
		trace.lookups[i].key = (one * (random >> 40) >> 33) * UINT64_C(0x9e3779b97f4a7c15); /* up to 2^15 */
	}
	for (enum simulated_store store = SIMULATED_LOCAL; store <= SIMULATED_REDIS; store++) {
		double all = run(&trace, store, 4 << 20, 0, 1).hit_ratio;
		struct simulation_result sample = run(&trace, store, 4 << 20, 0, 0.2);

		assert_true(all > 0.1 && all < 0.9);
		assert_true(fabs(sample.hit_ratio - all) < 0.03);
		assert_true(fabs(sample.hit_ratio - sample.saved_share) < 1e-9); /* all cost the same */
	}
	trace_fini(&trace);
}

/* Keeps the share of the keys that a server with --record-share records. */
static void
keep_share(struct trace *trace, uint64_t of)
{
	size_t count = 0;

	for (size_t i = 0; i < trace->count; i++) {
		if ((trace->lookups[i].key >> 20) % of == 0) {
			trace->lookups[count++] = trace->lookups[i];
		}
	}
	trace->count = count;
	trace->share = 1 / (double)of;
}

/* A record of a share of the keys tells of the cache for all of them. */
static void
test_recorded_share(void **state)
{
	struct trace trace = make_trace(200000, 20000, 1);
	uint64_t size = simulated_footprint(&trace, SIMULATED_LOCAL).bytes / 2;
	double hits = run(&trace, SIMULATED_LOCAL, size, 0, 1).hit_ratio;

	(void)state;
	keep_share(&trace, 5);
	assert_true(fabs((double)simulated_footprint(&trace, SIMULATED_LOCAL).bytes / (double)size - 2) < 0.1);
	assert_true(fabs(run(&trace, SIMULATED_LOCAL, size, 0, 1).hit_ratio - hits) < 0.03);
	trace_fini(&trace);
}

/* It does not matter when the look-ups were. */
static void
test_other_times(void **state)
{
	struct trace trace = make_trace(20000, 1000, 1);
	struct simulation_result early = run(&trace, SIMULATED_LOCAL, 256 << 10, 700, 1);
	struct simulation_result late;

	(void)state;
	for (size_t i = 0; i < trace.count; i++) {
		trace.lookups[i].time_ms += UINT64_C(1700000000000);
	}
	late = run(&trace, SIMULATED_LOCAL, 256 << 10, 700, 1);
	assert_true(early.hit_ratio == late.hit_ratio && early.evictions == late.evictions);
	trace_fini(&trace);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_what_is_no_record),
		cmocka_unit_test(test_lru),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_servers_that_share),
		cmocka_unit_test(test_ttl),
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_recorded_share),
		cmocka_unit_test(test_other_times),
	};

	return cmocka_run_group_tests_name("simulation", tests, NULL, NULL);
}
