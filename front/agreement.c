#include "front/agreement.h"

#include "base/digest.h"

#include <string.h>

#define SILENT_POLLS 3
#define NOTICED_READS 3
#define EPOCH_MAX (UINT64_MAX / 2) /* none comes so far by counting */

static uint64_t
larger(uint64_t one, uint64_t other)
{
	return one > other ? one : other;
}

static void
note_left(struct agreement *agreement, const struct agreement_record *record)
{
	memcpy(agreement->left[agreement->left_count++ % AGREEMENT_LEFT], record->random, AGREEMENT_RANDOM);
}

static bool
has_left(const struct agreement *agreement, const struct agreement_record *record)
{
	for (size_t i = 0; i < AGREEMENT_LEFT && i < agreement->left_count; i++) {
		if (memcmp(agreement->left[i], record->random, AGREEMENT_RANDOM) == 0) {
			return true;
		}
	}
	return false;
}

/* A generation of this front's own, which begins now. */
static void
begin(struct agreement *agreement, uint64_t epoch)
{
	note_left(agreement, &agreement->mine);
	memcpy(agreement->mine.over, agreement->mine.random, sizeof(agreement->mine.over));
	random_bytes(agreement->mine.random, sizeof(agreement->mine.random));
	agreement->mine.epoch = epoch;
	agreement->is_anothers = false;
}

void
agreement_init(struct agreement *agreement)
{
	*agreement = (struct agreement){0};
	begin(agreement, 0);
	random_bytes(&agreement->mine.writer, sizeof(agreement->mine.writer));
}

static bool
is_same_generation(const struct agreement_record *one, const struct agreement_record *other)
{
	return memcmp(one->random, other->random, sizeof(one->random)) == 0;
}

static void
take_over(struct agreement *agreement, const struct agreement_record *record)
{
	note_left(agreement, &agreement->mine);
	agreement->mine.epoch = record->epoch;
	memcpy(agreement->mine.random, record->random, sizeof(agreement->mine.random));
	memcpy(agreement->mine.over, record->over, sizeof(agreement->mine.over));
	agreement->is_settled = agreement->is_anothers = true;
}

/*
 * Begins one above another's, whose beginner is to see that we know it. Until then it writes its own again and again,
 * which is no news any more.
 */
static void
begin_above(struct agreement *agreement, const struct agreement_record *record, uint64_t now_ms)
{
	note_left(agreement, record);
	begin(agreement, larger(larger(record->epoch, agreement->mine.epoch) + 1, now_ms));
	memcpy(agreement->mine.over, record->random, sizeof(agreement->mine.over));
	agreement->is_settled = true;
}

static bool
read_first(struct agreement *agreement, const struct agreement_record *record, uint64_t now_ms)
{
	const struct agreement_record *seen = &agreement->seen;

	if (agreement->has_noticed) { /* before anybody could be told */
		begin_above(agreement, record, now_ms);
		return true;
	}
	if (!agreement->has_seen || !is_same_generation(seen, record)) {
		agreement->has_seen = true;
		agreement->seen = *record;
		agreement->silent = 0;
		return false;
	}
	if (seen->writer != record->writer || seen->beat != record->beat) {
		take_over(agreement, record);
		return true;
	}
	if (++agreement->silent >= SILENT_POLLS) { /* nobody follows the models any more */
		begin_above(agreement, record, now_ms);
		return true;
	}
	return false;
}

/* Has it noticed something so recently that others may not know, as far as it has heard of them? */
static bool
has_news(const struct agreement *agreement)
{
	return agreement->has_noticed && agreement->reads <= NOTICED_READS;
}

static bool
read_later(struct agreement *agreement, const struct agreement_record *record, uint64_t now_ms)
{
	const struct agreement_record *mine = &agreement->mine;
	bool knows_ours = memcmp(record->over, mine->random, sizeof(mine->random)) == 0;

	if (is_same_generation(record, mine) || has_left(agreement, record)) {
		return false;
	}
	if (knows_ours || (record->epoch > mine->epoch && !has_news(agreement))) {
		take_over(agreement, record);
	} else {
		begin_above(agreement, record, now_ms);
	}
	return true;
}

bool
agreement_read(struct agreement *agreement, const struct agreement_record *record, uint64_t now_ms)
{
	agreement->reads++;
	if (record == NULL || record->epoch > EPOCH_MAX) {
		if (agreement->is_settled) {
			return false;
		}
		/* What this front has stored so far may be older than what somebody knows whose record was lost. */
		begin(agreement, now_ms);
		agreement->is_settled = true;
		return true;
	}
	return agreement->is_settled ? read_later(agreement, record, now_ms) : read_first(agreement, record, now_ms);
}

void
agreement_move(struct agreement *agreement, uint64_t now_ms)
{
	begin(agreement, agreement->is_settled ? larger(agreement->mine.epoch + 1, now_ms) : 0);
	agreement->has_noticed = true;
	agreement->reads = 0;
}

void
agreement_part(struct agreement *agreement)
{
	begin(agreement, 0);
	agreement->is_settled = agreement->has_seen = false;
}

bool
agreement_write(struct agreement *agreement, struct agreement_record *record)
{
	agreement->mine.beat++;
	*record = agreement->mine;
	return agreement->is_settled;
}
