/*
 * What the engine makes of its store: late answers, leases, entries that are old, purged, or not to be trusted. See
 * engine_fixture.h.
 */
#include "inference/engine_fixture.h"

/* --- Late look-ups --- */

static void
test_the_model_runs_when_the_store_is_late(void **state)
{
	struct asker asker;

	(void)state;
	store.slow = true;
	ASK(&asker, 7);
	fixture_pass(FIXTURE_LOOKUP_TIMEOUT_MS - 1);
	assert_int_equal(executor.count, 0);
	fixture_pass(2);
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
	fixture_answer_lookups();
}

static void
test_a_late_answer_is_still_one(void **state)
{
	struct asker asker;

	(void)state;
	STORE(7);
	store.slow = true;
	executor.added = 100;
	ASK(&asker, 7);
	fixture_pass(FIXTURE_LOOKUP_TIMEOUT_MS + 1);
	assert_int_equal(executor.count, 1);
	fixture_answer_lookups();
	asker_assert_answered(&asker, 0);
	assert_int_equal(executor.withdrawn, 1);
	fixture_finish(0, STATUS_CANCELLED);
	fixture_settle();
}

/* A store that is always late is reported, once. */
static void
test_a_store_that_is_always_late(void **state)
{
	uint64_t told_ns = 0;
	struct asker asker;

	(void)state;
	store.slow = true;
	for (int32_t i = 0; i < 8; i++) {
		ASK(&asker, i);
		fixture_pass(500);
		fixture_run((size_t)i);
		asker_assert_answered(&asker, 0);
		fixture_answer_lookups();
		assert_true(told_ns == 0 || atomic_load(&this.engine->lateness.told_ns) == told_ns);
		told_ns = atomic_load(&this.engine->lateness.told_ns);
	}
	assert_true(told_ns != 0);
}

static void
test_a_store_that_is_down_costs_no_answer(void **state)
{
	struct asker asker;

	(void)state;
	STORE(7);
	store.down = true;
	executor.added = 100;
	ASK(&asker, 7);
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&asker, 100);
	ASK(&asker, 7);
	fixture_finish(1, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_failed(&asker, STATUS_INTERNAL);
}

/* --- Leases --- */

static void
share(enum cache_lease_result lease)
{
	this.cache.settings.coalesce = COALESCE_SHARED;
	atomic_store(&this.model.run_cost_ns, 40 * NS_PER_MS);
	atomic_store(&this.model.run_span_ns, 40 * NS_PER_MS);
	atomic_store(&this.model.lookup_cost_ns, NS_PER_MS);
	store.lease = lease;
}

static void
test_a_lease_is_released_once_the_answer_is_stored(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_GRANTED);
	ASK(&asker, 7);
	assert_int_equal(executor.count, 1);
	assert_int_equal(store.released, 0);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
	assert_int_equal(store.inserts, 1);
	assert_int_equal(store.released, 1);
}

static void
test_the_holder_of_a_lease_dies(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_HELD);
	ASK(&asker, 8, 9);
	fixture_pass(20);
	assert_int_equal(executor.count, 0);
	fixture_pass(400); /* nobody stores anything */
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
}

static void
test_what_another_server_stored_is_taken(void **state)
{
	struct blob *value;
	struct digest_value key;
	struct asker asker;

	(void)state;
	STORE(7);
	key = store.entries[0].key;
	value = blob_ref(store.entries[0].value);
	fixture_empty_store();
	share(CACHE_LEASE_HELD);
	executor.added = 100;
	ASK(&asker, 7);
	assert_int_equal(executor.count, 0);
	fixture_put(&key, value);
	blob_unref(value);
	fixture_pass(60);
	asker_assert_answered(&asker, 0);
	assert_int_equal(executor.count, 0);
}

static void
test_no_lease_for_a_cheap_model(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_HELD);
	atomic_store(&this.model.lookup_cost_ns, 30 * NS_PER_MS); /* a lease costs another look-up */
	ASK(&asker, 7);
	assert_int_equal(store.leased, 0);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
}

static void
test_no_lease_for_what_will_not_be_stored(void **state)
{
	const struct cache_directives wishes[] = {{.no_store = true}, {.bypass = true}, {.has_max_age = true}};
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_HELD);
	for (size_t i = 0; i < 3; i++) {
		asker_ask(&asker, &this.model, &wishes[i], 1, (int32_t[]){7});
		assert_int_equal(store.leased, 0);
		fixture_run(i);
		asker_assert_answered(&asker, 0);
		fixture_empty_store();
	}
	atomic_store(&this.model.too_large, true); /* as its last answer was */
	ASK(&asker, 7);
	assert_int_equal(store.leased, 0);
	fixture_run(3);
	asker_assert_answered(&asker, 0);
}

/* Batches that have a lease each never wait for each other. */
static void
test_one_lease_is_enough_to_run_all_rows(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_HELD);
	store.grants = 1;
	ASK(&asker, 1, 2, 3);
	assert_int_equal(store.leased, 3);
	assert_int_equal(executor.count, 1);
	assert_int_equal(executor.jobs[0]->part_count, 3);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
	assert_int_equal(store.released, 1); /* its own alone */
}

/* The holder failed and let its lease go: the next poll gets it. */
static void
test_a_lease_that_is_let_go_is_taken_over(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_HELD);
	ASK(&asker, 7);
	assert_int_equal(executor.count, 0);
	store.lease = CACHE_LEASE_GRANTED;
	fixture_pass(20);
	assert_int_equal(executor.count, 1);
	fixture_finish(0, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_failed(&asker, STATUS_INTERNAL);
	assert_int_equal(store.released, 1);
}

static void
test_the_model_runs_when_the_store_fails_meanwhile(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_HELD);
	ASK(&asker, 7);
	store.down = true;
	fixture_pass(20); /* the next poll */
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
}

static void
test_the_model_runs_when_the_store_stands_still_meanwhile(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_HELD);
	ASK(&asker, 7);
	store.slow = true;
	store.slow_leases = true;
	fixture_pass(20); /* polls */
	assert_int_equal(executor.count, 0);
	fixture_pass(200); /* past the time that the other server gets */
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
	fixture_answer_leases();
	fixture_answer_lookups();
}

/* It was granted after all, but comes when the model runs already; nobody else must wait until it runs out. */
static void
test_a_late_lease_is_released(void **state)
{
	struct asker asker;

	(void)state;
	share(CACHE_LEASE_GRANTED);
	store.slow_leases = true;
	ASK(&asker, 7);
	assert_int_equal(executor.count, 0);
	fixture_pass(FIXTURE_LOOKUP_TIMEOUT_MS + 1);
	assert_int_equal(executor.count, 1);
	fixture_answer_leases();
	fixture_run(0);
	asker_assert_answered(&asker, 0);
	assert_int_equal(store.released, 1);
}

static void
test_leaving_while_another_server_runs(void **state)
{
	struct asker leader;
	struct asker other;
	struct asker alone;

	(void)state;
	share(CACHE_LEASE_HELD);
	ASK(&leader, 7);
	ASK(&other, 7);
	ASK(&alone, 8);
	engine_cancel(&leader.request);
	asker_assert_failed(&leader, STATUS_CANCELLED);
	engine_cancel(&alone.request);
	asker_assert_failed(&alone, STATUS_CANCELLED);
	fixture_pass(400);
	assert_int_equal(executor.count, 1); /* for the one that joined */
	fixture_run(0);
	asker_assert_answered(&other, 0);
}

static void
test_a_server_that_ends_does_not_wait(void **state)
{
	struct asker askers[2];

	(void)state;
	share(CACHE_LEASE_HELD);
	ASK(&askers[0], 7);
	engine_lane_stop_waiting(this.lane);
	assert_int_equal(executor.count, 1);
	ASK(&askers[1], 8);
	assert_int_equal(executor.count, 2);
	assert_int_equal(store.leased, 1);
	for (size_t i = 0; i < 2; i++) {
		fixture_run(i);
		asker_assert_answered(&askers[i], 0);
	}
}

/* --- Freshness --- */

static void
test_what_has_expired_runs_again(void **state)
{
	struct asker asker;

	(void)state;
	fixture_keep_for(&this.model, 10, 0, 0);
	STORE(7);
	fixture_pass(8000);
	ASK(&asker, 7);
	asker_assert_answered(&asker, 0);
	fixture_pass(4000);
	executor.added = 100;
	ASK(&asker, 7);
	assert_false(asker.done);
	fixture_run(0);
	assert_int_equal(asker.request.report.forward, FORWARD_STALE);
	asker_assert_answered(&asker, 100);
}

static void
test_what_is_stale_serves_where_the_model_fails(void **state)
{
	struct asker asker;

	(void)state;
	fixture_keep_for(&this.model, 10, 0, 60);
	STORE(7);
	fixture_pass(30000);
	ASK(&asker, 7);
	assert_false(asker.done);
	fixture_finish(0, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_answered(&asker, 0);
	fixture_pass(60000); /* too old even for stale-if-error */
	executor.count = 0;
	ASK(&asker, 7);
	fixture_finish(0, STATUS_INTERNAL);
	fixture_settle();
	asker_assert_failed(&asker, STATUS_INTERNAL);
}

static void
test_what_is_stale_is_renewed_behind_the_back(void **state)
{
	struct asker asker;

	(void)state;
	fixture_keep_for(&this.model, 10, 60, 0);
	STORE(7);
	fixture_pass(30000);
	executor.added = 100;
	ASK(&asker, 7);
	asker_assert_answered(&asker, 0);
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	ASK(&asker, 7);
	asker_assert_answered(&asker, 100);
	assert_int_equal(executor.count, 1);
}

static void
test_an_age_that_will_not_do(void **state)
{
	const struct cache_directives wish = {.has_max_age = true, .max_age_s = 5};
	struct asker asker;
	struct asker joined;

	(void)state;
	STORE(7);
	fixture_pass(4000);
	asker_ask(&asker, &this.model, &wish, 1, (int32_t[]){7});
	asker_assert_answered(&asker, 0);
	fixture_pass(4000);
	executor.added = 100;
	store.slow = true;
	ASK(&asker, 7);
	asker_ask(&joined, &this.model, &wish, 1, (int32_t[]){7});
	fixture_answer_lookups(); /* fresh enough for the first, but not for the one that joined it */
	asker_assert_answered(&asker, 0);
	assert_false(joined.done);
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&joined, 100);
}

/* Of a batch only the rows that have expired run again. */
static void
test_stale_rows_of_a_batch(void **state)
{
	struct asker asker;

	(void)state;
	fixture_keep_for(&this.model, 10, 0, 0);
	STORE(1);
	fixture_pass(8000);
	STORE(2);
	fixture_pass(4000); /* 1 has expired */
	ASK(&asker, 1, 2, 3);
	assert_int_equal(executor.jobs[0]->part_count, 2);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
}

/* max-stale allows what is kept, renews nothing, and is no permission for others. */
static void
test_clients_that_take_stale_answers(void **state)
{
	const struct cache_directives any = {.has_max_stale = true, .max_stale_s = UINT64_MAX / 2000};
	const struct cache_directives little = {.has_max_stale = true, .max_stale_s = 1};
	struct asker asker;

	(void)state;
	fixture_keep_for(&this.model, 10, 0, 3600);
	STORE(7);
	fixture_pass(60000);
	executor.added = 100;
	asker_ask(&asker, &this.model, &any, 1, (int32_t[]){7});
	asker_assert_answered(&asker, 0);
	assert_int_equal(executor.count, 0);
	asker_ask(&asker, &this.model, &little, 1, (int32_t[]){7});
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&asker, 100);
}

static void
test_who_may_not_store_does_not_renew(void **state)
{
	const struct cache_directives wishes[] = {{.no_store = true}, {.only = true}};
	struct asker asker;

	(void)state;
	fixture_keep_for(&this.model, 10, 3600, 0);
	STORE(7);
	fixture_pass(60000);
	for (size_t i = 0; i < 2; i++) {
		asker_ask(&asker, &this.model, &wishes[i], 1, (int32_t[]){7});
		asker_assert_answered(&asker, 0);
		assert_int_equal(executor.count, 0);
	}
}

static void
test_one_renewal_for_all_who_ask(void **state)
{
	struct asker asker;

	(void)state;
	fixture_keep_for(&this.model, 10, 3600, 0);
	STORE(7);
	fixture_pass(60000);
	executor.added = 100;
	for (int i = 0; i < 5; i++) {
		ASK(&asker, 7);
		asker_assert_answered(&asker, 0);
	}
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	ASK(&asker, 7);
	asker_assert_answered(&asker, 100);
}

/* Why an entry is not used, wherever it was found: it has expired, or is too old for this request alone. */
static void
test_why_an_entry_is_not_used(void **state)
{
	const struct cache_directives young = {.has_max_age = true, .max_age_s = 3};
	const struct cache_directives old = {.has_max_age = true, .max_age_s = 60};
	struct asker asker;

	(void)state;
	fixture_keep_for(&this.model, 10, 0, 0);
	for (int tells = 0; tells < 2; tells++) {
		store.tells = false;
		STORE(7);
		store.tells = tells != 0;
		fixture_pass(5000);
		asker_ask(&asker, &this.model, &young, 1, (int32_t[]){7});
		fixture_run(0);
		assert_int_equal(asker.request.report.forward, FORWARD_REQUEST);
		asker_assert_answered(&asker, 0);
		fixture_pass(15000);
		asker_ask(&asker, &this.model, &old, 1, (int32_t[]){7});
		fixture_run(1);
		assert_int_equal(asker.request.report.forward, FORWARD_STALE);
		asker_assert_answered(&asker, 0);
		executor.count = 0;
		fixture_empty_store();
	}
}

/* A hit that the store tells at once takes neither a look-up nor a turn of the loop. */
static void
test_a_hit_at_once(void **state)
{
	struct asker asker;

	(void)state;
	STORE(1, 2);
	store.tells = true;
	store.lookups = 0;
	ASK(&asker, 2, 1);
	asker_assert_answered(&asker, 0);
	assert_int_equal(store.lookups, 0);
}

/* --- Purges --- */

static void
test_what_is_purged_while_it_is_fetched(void **state)
{
	struct cache_purge purge = {.model = bytes_text("m")};
	struct asker asker;
	struct blob *value;
	struct digest_value key;

	(void)state;
	STORE(7);
	key = store.entries[0].key;
	value = blob_ref(store.entries[0].value);
	fixture_pass(5);
	assert_true(engine_purge(this.lane, &purge));
	assert_int_equal(purge.removed, 1);
	fixture_pass(1);
	fixture_put(&key, value); /* the store lost the purge, or an insert was under way */
	blob_unref(value);
	executor.added = 100;
	ASK(&asker, 7);
	assert_false(asker.done);
	fixture_run(0);
	asker_assert_answered(&asker, 100);
	ASK(&asker, 7);
	asker_assert_answered(&asker, 100);
}

/* A run that began before a purge answers those who waited for it; nobody else gets what it made. */
static void
test_a_run_that_was_under_way_during_a_purge(void **state)
{
	struct cache_purge purge = {.model = bytes_text("m")};
	struct asker before;
	struct asker after;
	struct asker last;

	(void)state;
	ASK(&before, 7);
	fixture_pass(5);
	assert_true(engine_purge(this.lane, &purge));
	fixture_pass(5);
	ASK(&after, 7);
	assert_int_equal(executor.count, 2);
	fixture_run(0);
	assert_false(before.request.report.stored);
	asker_assert_answered(&before, 0);
	assert_false(after.done);
	assert_int_equal(store.inserts, 0);
	executor.added = 100;
	fixture_run(1);
	asker_assert_answered(&after, 100);
	assert_int_equal(store.inserts, 1);
	ASK(&last, 7);
	asker_assert_answered(&last, 100);
}

/* Another server's purge is heard of a little later. What began after it was made is stored. */
static void
test_a_purge_by_another_server(void **state)
{
	struct asker before;
	struct asker after;
	uint64_t at_ms;

	(void)state;
	ASK(&before, 7);
	fixture_pass(10);
	at_ms = clock_wall_ms();
	fixture_pass(10);
	ASK(&after, 8);
	fixture_pass(10);
	this.lane->host.purged(this.lane->host.listener, bytes_text("m"), bytes_text(""), at_ms);
	fixture_finish(0, STATUS_OK);
	fixture_run(1);
	asker_assert_answered(&before, 0);
	asker_assert_answered(&after, 0);
	assert_int_equal(store.count, 1);
	ASK(&after, 8);
	asker_assert_answered(&after, 0);
}

/* Purges of other models are nothing to it. */
static void
test_a_run_during_a_purge_of_another_model(void **state)
{
	struct cache_purge purge = {.model = bytes_text("other")};
	struct asker askers[2];

	(void)state;
	ASK(&askers[0], 7);
	fixture_pass(5);
	assert_true(engine_purge(this.lane, &purge));
	ASK(&askers[1], 7);
	assert_int_equal(executor.count, 1);
	fixture_run(0);
	asker_assert_answered(&askers[0], 0);
	asker_assert_answered(&askers[1], 0);
	assert_int_equal(store.inserts, 1);
}

/* --- Untrusted values --- */

static void
test_an_answer_to_another_question(void **state)
{
	struct asker asker;
	struct digest_value key;

	(void)state;
	STORE(7);
	STORE(8);
	key = store.entries[1].key;
	fixture_put(&key, store.entries[0].value);
	ASK(&asker, 8);
	assert_false(asker.done);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
}

static void
test_a_damaged_entry(void **state)
{
	struct asker asker;
	struct blob *damaged;

	(void)state;
	STORE(7);
	damaged = blob_copy(blob_bytes(store.entries[0].value));
	damaged->data[damaged->length - 1] ^= 1;
	fixture_put(&store.entries[0].key, damaged);
	blob_unref(damaged);
	ASK(&asker, 7);
	assert_false(asker.done);
	fixture_run(0);
	asker_assert_answered(&asker, 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		FIXTURE_TEST(test_the_model_runs_when_the_store_is_late),
		FIXTURE_TEST(test_a_late_answer_is_still_one),
		FIXTURE_TEST(test_a_store_that_is_always_late),
		FIXTURE_TEST(test_a_store_that_is_down_costs_no_answer),
		FIXTURE_TEST(test_a_lease_is_released_once_the_answer_is_stored),
		FIXTURE_TEST(test_the_holder_of_a_lease_dies),
		FIXTURE_TEST(test_what_another_server_stored_is_taken),
		FIXTURE_TEST(test_no_lease_for_a_cheap_model),
		FIXTURE_TEST(test_no_lease_for_what_will_not_be_stored),
		FIXTURE_TEST(test_one_lease_is_enough_to_run_all_rows),
		FIXTURE_TEST(test_a_lease_that_is_let_go_is_taken_over),
		FIXTURE_TEST(test_the_model_runs_when_the_store_fails_meanwhile),
		FIXTURE_TEST(test_the_model_runs_when_the_store_stands_still_meanwhile),
		FIXTURE_TEST(test_a_late_lease_is_released),
		FIXTURE_TEST(test_leaving_while_another_server_runs),
		FIXTURE_TEST(test_a_server_that_ends_does_not_wait),
		FIXTURE_TEST(test_what_has_expired_runs_again),
		FIXTURE_TEST(test_what_is_stale_serves_where_the_model_fails),
		FIXTURE_TEST(test_what_is_stale_is_renewed_behind_the_back),
		FIXTURE_TEST(test_an_age_that_will_not_do),
		FIXTURE_TEST(test_stale_rows_of_a_batch),
		FIXTURE_TEST(test_clients_that_take_stale_answers),
		FIXTURE_TEST(test_who_may_not_store_does_not_renew),
		FIXTURE_TEST(test_one_renewal_for_all_who_ask),
		FIXTURE_TEST(test_why_an_entry_is_not_used),
		FIXTURE_TEST(test_a_hit_at_once),
		FIXTURE_TEST(test_what_is_purged_while_it_is_fetched),
		FIXTURE_TEST(test_a_run_that_was_under_way_during_a_purge),
		FIXTURE_TEST(test_a_purge_by_another_server),
		FIXTURE_TEST(test_a_run_during_a_purge_of_another_model),
		FIXTURE_TEST(test_an_answer_to_another_question),
		FIXTURE_TEST(test_a_damaged_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
