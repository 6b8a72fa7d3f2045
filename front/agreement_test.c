/* Fronts that share a store: their records go by hand from one to the other. */
#include "front/agreement.h"

#include "base/unit_test.h"

#include <string.h>

#define NOW UINT64_C(1000000)

struct store {
	struct agreement_record record;
	bool is_there;
};

/* What a front does in each poll; `moves`: it notices meanwhile that models may have changed. */
static bool
poll_store(struct agreement *front, struct store *store, bool moves)
{
	struct agreement_record record;
	bool changed = agreement_read(front, store->is_there ? &store->record : NULL, NOW);

	if (moves) {
		agreement_move(front, NOW);
		changed = true;
	}
	if (agreement_write(front, &record)) {
		store->record = record;
		store->is_there = true;
	}
	return changed;
}

static bool
agree(const struct agreement *one, const struct agreement *other)
{
	return memcmp(one->mine.random, other->mine.random, sizeof(one->mine.random)) == 0;
}

/* Two that start, until they agree. */
static void
settle(struct agreement *one, struct agreement *other, struct store *store)
{
	agreement_init(one);
	agreement_init(other);
	for (size_t i = 0; i < 4; i++) {
		(void)poll_store(one, store, false);
		(void)poll_store(other, store, false);
	}
}

static void
test_the_first_front(void **state)
{
	struct store store = {.is_there = false};
	struct agreement front;

	(void)state;
	agreement_init(&front);
	assert_true(poll_store(&front, &store, false)); /* what was stored before is not used */
	assert_true(store.is_there);
	assert_int_equal(store.record.epoch, NOW);
	assert_false(poll_store(&front, &store, false));
}

/* One that starts takes the generation over from one that is at work. */
static void
test_a_second_front(void **state)
{
	struct store store = {.is_there = false};
	struct agreement first;
	struct agreement second;

	(void)state;
	agreement_init(&first);
	agreement_init(&second);
	(void)poll_store(&first, &store, false);
	assert_false(poll_store(&second, &store, false)); /* it may be what one has left that is gone */
	assert_false(agree(&first, &second));
	(void)poll_store(&first, &store, false);
	assert_true(poll_store(&second, &store, false));
	assert_true(agree(&first, &second));
	for (size_t i = 0; i < 5; i++) {
		assert_false(poll_store(&first, &store, false));
		assert_false(poll_store(&second, &store, false));
	}
}

/* What one has left that has ended is not taken over: nobody has followed the models since. */
static void
test_a_record_that_nobody_renews(void **state)
{
	struct store store = {.is_there = false};
	struct agreement first;
	struct agreement second;

	(void)state;
	agreement_init(&first);
	agreement_init(&second);
	(void)poll_store(&first, &store, false);
	for (size_t i = 0; i < 10; i++) {
		(void)poll_store(&second, &store, false);
		assert_false(agree(&first, &second));
	}
	assert_true(store.record.writer == second.mine.writer);
	assert_true(poll_store(&first, &store, false)); /* it was not gone after all */
	assert_true(agree(&first, &second));
}

static void
test_a_change_that_one_notices(void **state)
{
	struct store store = {.is_there = false};
	struct agreement fronts[3];
	struct agreement old;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		agreement_init(&fronts[i]);
	}
	for (size_t i = 0; i < 12; i++) {
		(void)poll_store(&fronts[i % 3], &store, false);
	}
	assert_true(agree(&fronts[0], &fronts[1]) && agree(&fronts[0], &fronts[2]));
	old = fronts[0];
	(void)poll_store(&fronts[1], &store, true);
	assert_true(poll_store(&fronts[2], &store, false));
	assert_true(poll_store(&fronts[0], &store, false));
	assert_true(agree(&fronts[0], &fronts[1]) && agree(&fronts[0], &fronts[2]));
	assert_false(agree(&fronts[0], &old));
}

/* Another's generation of the same epoch may be older than what this one has noticed. */
static void
test_two_notice_at_the_same_time(void **state)
{
	struct store store = {.is_there = false};
	struct agreement_record lost;
	struct agreement first;
	struct agreement second;
	struct agreement both[2];

	(void)state;
	settle(&first, &second, &store);
	agreement_move(&first, NOW);
	agreement_move(&second, NOW);
	both[0] = first;
	both[1] = second;
	assert_true(agreement_write(&first, &lost));
	assert_true(agreement_write(&second, &store.record)); /* in place of the first one's */
	for (size_t i = 0; i < 3; i++) {
		(void)poll_store(&first, &store, false);
		(void)poll_store(&second, &store, false);
	}
	assert_true(agree(&first, &second));
	assert_false(agree(&first, &both[0]));
	assert_false(agree(&first, &both[1]));
}

/* As group.c does it: the record is read again just before it is written, and what is found is entered first. */
static void
poll_twice(struct agreement *front, struct store *store)
{
	struct agreement_record record;

	(void)agreement_read(front, store->is_there ? &store->record : NULL, NOW);
	if (!agreement_read(front, store->is_there ? &store->record : NULL, NOW) && agreement_write(front, &record)) {
		store->record = record;
		store->is_there = true;
	}
}

/* Each finds no record, and begins a generation of its own. */
static void
test_two_start_at_the_same_time(void **state)
{
	struct store store = {.is_there = false};
	struct agreement first;
	struct agreement second;

	(void)state;
	agreement_init(&first);
	agreement_init(&second);
	assert_true(agreement_read(&first, NULL, NOW));
	assert_true(agreement_read(&second, NULL, NOW + 1));
	for (size_t i = 0; i < 6; i++) {
		poll_twice(&first, &store);
		poll_twice(&second, &store);
	}
	assert_true(agree(&first, &second));
	assert_false(agreement_read(&first, &store.record, NOW));
	assert_false(agreement_read(&second, &store.record, NOW));
}

/* A load that passes through one that has just started is news for those that have run for long. */
static void
test_a_change_before_the_first_agreement(void **state)
{
	struct store store = {.is_there = false};
	struct agreement first;
	struct agreement old;
	struct agreement second;

	for (size_t seen = 0; seen < 2; seen++) {
		store.is_there = false;
		agreement_init(&first);
		agreement_init(&second);
		(void)poll_store(&first, &store, false);
		if (seen > 0) {
			(void)poll_store(&second, &store, false);
		}
		old = first;
		agreement_move(&second, NOW);
		assert_true(poll_store(&second, &store, false));
		assert_true(poll_store(&first, &store, false));
		assert_true(agree(&first, &second));
		assert_false(agree(&first, &old));
	}
	(void)state;
}

/* The record of a change is lost, and another front begins one whose clock is ahead. */
static void
test_a_change_whose_record_is_lost(void **state)
{
	struct store store = {.is_there = false};
	struct agreement first;
	struct agreement other;
	struct agreement before;

	(void)state;
	agreement_init(&first);
	(void)poll_store(&first, &store, false);
	agreement_init(&other);
	(void)agreement_read(&other, NULL, NOW + 60000);
	before = other;
	(void)poll_store(&first, &store, true);
	assert_true(agreement_write(&other, &store.record)); /* in place of that of the change */
	assert_true(poll_store(&first, &store, false));
	assert_false(agree(&first, &before));
	assert_true(agreement_read(&other, &store.record, NOW + 60000));
	assert_true(agree(&first, &other));
}

/* The same where it could not read for long: the number of reads counts, not the time. */
static void
test_a_change_while_the_store_is_away(void **state)
{
	struct store store = {.is_there = false};
	struct agreement first;
	struct agreement other;
	struct agreement before;

	(void)state;
	settle(&first, &other, &store);
	agreement_move(&first, NOW);		/* nobody hears of it */
	(void)poll_store(&other, &store, true); /* notices something else, later or earlier */
	store.record.epoch = other.mine.epoch = NOW + 1000;
	before = other;
	assert_true(poll_store(&first, &store, false));
	assert_false(agree(&first, &before));
	assert_true(poll_store(&other, &store, false));
	assert_true(agree(&first, &other));
}

/* A clock that is ahead, and news of a lower epoch, which it has not heard of. */
static void
test_news_of_a_lower_epoch(void **state)
{
	struct store store = {.is_there = false};
	struct agreement ahead;
	struct agreement other;
	struct agreement before;

	(void)state;
	settle(&ahead, &other, &store);
	agreement_move(&ahead, NOW + 60000); /* without the store */
	before = ahead;
	(void)poll_store(&other, &store, true);
	for (size_t i = 0; i < 6; i++) {
		(void)poll_store(&other, &store, false);
	}
	assert_true(poll_store(&ahead, &store, false));
	assert_false(agree(&ahead, &before));
	assert_true(poll_store(&other, &store, false));
	assert_true(agree(&ahead, &other));
}

/* One that is late to leave a generation does not make the others leave theirs. */
static void
test_one_that_is_late(void **state)
{
	struct store store = {.is_there = false};
	struct agreement_record old;
	struct agreement first;
	struct agreement second;

	(void)state;
	settle(&first, &second, &store);
	assert_true(agreement_write(&second, &old));
	(void)poll_store(&first, &store, true);
	store.record = old;
	assert_false(poll_store(&first, &store, false));
	assert_true(poll_store(&second, &store, false));
	assert_true(agree(&first, &second));
}

/* Who has not reached the store for long takes over what others have meanwhile; or tells its news. */
static void
test_parting(void **state)
{
	struct store store = {.is_there = false};
	struct agreement first;
	struct agreement second;

	(void)state;
	settle(&first, &second, &store);
	agreement_part(&second);
	assert_false(agree(&first, &second));
	(void)poll_store(&first, &store, true);
	for (size_t i = 0; i < 3; i++) {
		(void)poll_store(&second, &store, false);
		(void)poll_store(&first, &store, false);
	}
	assert_true(agree(&first, &second));
}

static void
test_an_epoch_beyond_all(void **state)
{
	struct store store = {.record = {.epoch = UINT64_MAX}, .is_there = true};
	struct agreement front;

	(void)state;
	agreement_init(&front);
	(void)poll_store(&front, &store, false);
	assert_int_equal(store.record.epoch, NOW);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_first_front),
		cmocka_unit_test(test_a_second_front),
		cmocka_unit_test(test_a_record_that_nobody_renews),
		cmocka_unit_test(test_a_change_that_one_notices),
		cmocka_unit_test(test_two_notice_at_the_same_time),
		cmocka_unit_test(test_two_start_at_the_same_time),
		cmocka_unit_test(test_a_change_before_the_first_agreement),
		cmocka_unit_test(test_a_change_whose_record_is_lost),
		cmocka_unit_test(test_a_change_while_the_store_is_away),
		cmocka_unit_test(test_news_of_a_lower_epoch),
		cmocka_unit_test(test_one_that_is_late),
		cmocka_unit_test(test_parting),
		cmocka_unit_test(test_an_epoch_beyond_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
