#include "inference/fetch/renewals.h"

#include <string.h>

#define TIME_BITS 40
#define STEP_BITS 4
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define STEP_MASK ((UINT64_C(1) << STEP_BITS) - 1)
#define WAIT_FIRST_MS UINT64_C(1000)
#define STEP_MAX 6

static uint64_t
pack(uint64_t tag, uint64_t step, uint64_t time_ms)
{
	return tag << (TIME_BITS + STEP_BITS) | step << TIME_BITS | (time_ms & TIME_MASK);
}

bool
renewals_begin(struct renewals *renewals, const struct digest_value *key, uint64_t created_ms, uint64_t now_ms)
{
	uint64_t hash;
	_Atomic uint64_t *place;
	uint64_t found;
	uint64_t tag;
	uint64_t begun_ms;
	uint64_t step = 0;

	memcpy(&hash, key->bytes, sizeof(hash));
	place = &renewals->places[hash % RENEWALS_SIZE];
	tag = hash >> (TIME_BITS + STEP_BITS);
	found = atomic_load_explicit(place, memory_order_relaxed);
	begun_ms = found & TIME_MASK;
	if (found != 0 && found >> (TIME_BITS + STEP_BITS) == tag && (created_ms & TIME_MASK) < begun_ms) {
		step = found >> TIME_BITS & STEP_MASK;
		if ((now_ms & TIME_MASK) - begun_ms < WAIT_FIRST_MS << step) {
			return false; /* its result is not stored: it still runs, or was not kept */
		}
		step += step < STEP_MAX;
	}
	return atomic_compare_exchange_strong_explicit(place, &found, pack(tag, step, now_ms), memory_order_relaxed,
						       memory_order_relaxed);
}
