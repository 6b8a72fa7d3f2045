#include "measure/replay.h"

#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>

#define NEVER_NS (UINT64_MAX / 4)

struct step {
	uint64_t number; /* first: its key */
	uint64_t time_ns;
	size_t index;
};

struct replay {
	size_t count;
	size_t distinct;
	struct step steps[];
};

static int
by_key(const void *a, const void *b)
{
	const struct step *left = *(struct step *const *)a;
	const struct step *right = *(struct step *const *)b;

	if (left->number != right->number) {
		return left->number < right->number ? -1 : 1;
	}
	return (left->index > right->index) - (left->index < right->index);
}

/* Gives all steps of a key the index of the first one, by which they can be numbered. */
static void
name_by_first(struct replay *replay)
{
	struct step **sorted = memory_array(replay->count, sizeof(struct step *));
	uint64_t key = 0;
	size_t first = 0;

	for (size_t i = 0; i < replay->count; i++) {
		sorted[i] = &replay->steps[i];
	}
	qsort(sorted, replay->count, sizeof(struct step *), by_key);
	for (size_t i = 0; i < replay->count; i++) {
		if (i == 0 || sorted[i]->number != key) {
			key = sorted[i]->number;
			first = sorted[i]->index;
		}
		sorted[i]->number = first;
	}
	free(sorted);
}

struct replay *
replay_new(const struct replay_request *requests, size_t count)
{
	struct replay *replay = memory_new(sizeof(*replay) + count * sizeof(*replay->steps));

	replay->count = count;
	for (size_t i = 0; i < count; i++) {
		uint64_t since_ms = requests[i].time_ms - requests[0].time_ms;

		replay->steps[i] = (struct step){
			.number = requests[i].key,
			.time_ns = since_ms < NEVER_NS / NS_PER_MS ? since_ms * NS_PER_MS : NEVER_NS,
			.index = i,
		};
	}
	name_by_first(replay);
	for (size_t i = 0; i < count; i++) {
		struct step *step = &replay->steps[i];

		step->number = step->number == i ? replay->distinct++ : replay->steps[step->number].number;
	}
	return replay;
}

void
replay_free(struct replay *replay)
{
	free(replay);
}

size_t
replay_count(const struct replay *replay)
{
	return replay->count;
}

size_t
replay_distinct(const struct replay *replay)
{
	return replay->distinct;
}

uint64_t
replay_number(const struct replay *replay, size_t index)
{
	return replay->steps[index].number;
}

uint64_t
replay_time_ns(const struct replay *replay, size_t index)
{
	return index < replay->count ? replay->steps[index].time_ns : NEVER_NS;
}

double
replay_rate(const struct replay *replay)
{
	uint64_t ns = replay->steps[replay->count - 1].time_ns;

	return (double)replay->count * 1e9 / (double)(ns == 0 ? NS_PER_MS : ns);
}
