#include "caches/redis/connection/breaker.h"

#include <string.h>

#define WINDOW 64
#define KNOWN_MIN 20
#define FAILED_IN_A_ROW_MAX 5
#define GOOD_IN_A_ROW 20
#define BACKOFF_MIN_NS (UINT64_C(50) * 1000 * 1000)
#define BACKOFF_MAX_NS (UINT64_C(1000) * 1000 * 1000)

void
breaker_init(struct breaker *breaker)
{
	memset(breaker, 0, sizeof(*breaker));
	breaker->state = BREAKER_CLOSED;
	breaker->backoff_ns = BACKOFF_MIN_NS;
}

bool
breaker_allows(const struct breaker *breaker)
{
	return breaker->state == BREAKER_CLOSED;
}

static void
count(struct breaker *breaker, bool failed)
{
	breaker->failures = breaker->failures << 1 | failed;
	breaker->known += breaker->known < WINDOW;
}

static void
open_circuit(struct breaker *breaker, uint64_t now_ns, uint32_t random)
{
	uint64_t half_ns = breaker->backoff_ns / 2;
	uint64_t doubled_ns = 2 * breaker->backoff_ns;

	breaker->state = BREAKER_OPEN;
	breaker->probe_at_ns = now_ns + half_ns + (half_ns * random >> 32);
	breaker->backoff_ns = doubled_ns < BACKOFF_MAX_NS ? doubled_ns : BACKOFF_MAX_NS;
}

static void
close_circuit(struct breaker *breaker)
{
	breaker->state = BREAKER_CLOSED;
	breaker->failures = 0;
	breaker->known = 0;
	breaker->failed_in_a_row = 0;
	breaker->good_in_a_row = 0;
}

bool
breaker_succeeded(struct breaker *breaker)
{
	if (breaker->state == BREAKER_HALF_OPEN) {
		close_circuit(breaker);
		return true;
	}
	if (breaker->state == BREAKER_OPEN) {
		return false;
	}
	count(breaker, false);
	breaker->failed_in_a_row = 0;
	breaker->good_in_a_row += breaker->good_in_a_row < GOOD_IN_A_ROW;
	if (breaker->good_in_a_row == GOOD_IN_A_ROW) {
		breaker->backoff_ns = BACKOFF_MIN_NS;
	}
	return false;
}

static bool
too_many_failed(const struct breaker *breaker)
{
	return breaker->failed_in_a_row >= FAILED_IN_A_ROW_MAX ||
	       (breaker->known >= KNOWN_MIN &&
		2 * (unsigned int)__builtin_popcountll(breaker->failures) >= breaker->known);
}

bool
breaker_failed(struct breaker *breaker, uint64_t now_ns, uint32_t random)
{
	if (breaker->state == BREAKER_CLOSED) {
		count(breaker, true);
		breaker->good_in_a_row = 0;
		breaker->failed_in_a_row++;
		if (!too_many_failed(breaker)) {
			return false;
		}
	}
	return breaker_open_now(breaker, now_ns, random);
}

bool
breaker_open_now(struct breaker *breaker, uint64_t now_ns, uint32_t random)
{
	bool closed = breaker->state == BREAKER_CLOSED;

	if (breaker->state != BREAKER_OPEN) {
		open_circuit(breaker, now_ns, random);
	}
	return closed;
}

uint64_t
breaker_probe_at(const struct breaker *breaker)
{
	return breaker->probe_at_ns;
}

void
breaker_begin_probe(struct breaker *breaker)
{
	if (breaker->state == BREAKER_OPEN) {
		breaker->state = BREAKER_HALF_OPEN;
	}
}
