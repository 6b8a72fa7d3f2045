#include "front/agreement.h"

#include "base/digest.h"

#include <string.h>

#define SILENT_POLLS 3
#define EPOCH_MAX (UINT64_MAX / 2) /* none comes so far by counting */

static void
draw(struct agreement *agreement)
{
	random_bytes(agreement->mine.random, sizeof(agreement->mine.random));
}

void
agreement_init(struct agreement *agreement)
{
	*agreement = (struct agreement){0};
	draw(agreement);
	random_bytes((uint8_t *)&agreement->mine.writer, sizeof(agreement->mine.writer));
}

static bool
is_same_generation(const struct agreement_record *one, const struct agreement_record *other)
{
	return one->epoch == other->epoch && memcmp(one->random, other->random, sizeof(one->random)) == 0;
}

static void
take_over(struct agreement *agreement, const struct agreement_record *record)
{
	agreement->mine.epoch = record->epoch;
	memcpy(agreement->mine.random, record->random, sizeof(agreement->mine.random));
	agreement->is_settled = true;
}

/* Ours is in force from now on: higher than any before, also those whose record has expired. */
static void
settle(struct agreement *agreement, uint64_t least, uint64_t now_ms)
{
	agreement->mine.epoch = least > now_ms ? least : now_ms;
	agreement->is_settled = true;
}

static bool
read_first(struct agreement *agreement, const struct agreement_record *record, uint64_t now_ms)
{
	const struct agreement_record *seen = &agreement->seen;

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
		settle(agreement, record->epoch + 1, now_ms);
	}
	return false;
}

bool
agreement_read(struct agreement *agreement, const struct agreement_record *record, uint64_t now_ms)
{
	struct agreement_record *mine = &agreement->mine;

	if (record != NULL && record->epoch > EPOCH_MAX) {
		record = NULL;
	}
	if (record == NULL) {
		if (!agreement->is_settled) {
			settle(agreement, 0, now_ms);
		}
		return false;
	}
	if (!agreement->is_settled) {
		return read_first(agreement, record, now_ms);
	}
	if (record->epoch > mine->epoch) {
		take_over(agreement, record);
		return true;
	}
	if (record->epoch == mine->epoch && !is_same_generation(record, mine)) { /* two began at the same time */
		agreement_move(agreement);
		return true;
	}
	return false;
}

void
agreement_move(struct agreement *agreement)
{
	draw(agreement);
	agreement->has_seen = false; /* who wrote that record may not have noticed yet */
	if (agreement->is_settled) {
		agreement->mine.epoch++;
	}
}

bool
agreement_write(struct agreement *agreement, struct agreement_record *record)
{
	agreement->mine.beat++;
	*record = agreement->mine;
	return agreement->is_settled;
}
