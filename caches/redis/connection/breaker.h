/*
 * A circuit breaker (Michael T. Nygard, "Release It!"): a node that fails again and again is asked no more, except for
 * one probe at a time, until a probe succeeds.
 *
 * Closed, it counts outcomes. It opens at 5 failures in a row, or when of the last 64 outcomes at least 20 are known
 * and half of these or more failed. Open, it waits for a back-off of 50 ms, which doubles up to 1000 ms with every
 * opening; half of it is fixed, half is random, so that many who lost the same node do not come back at once. Then one
 * probe is sent, with the breaker half open: success closes it, with nothing counted yet, and failure opens it again.
 *
 * Only 20 successes in a row make the back-off short again: a node that fails right after closing keeps it.
 *
 * It has no clock and no lock: the caller gives the time and random bits, and calls from one thread.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_BREAKER_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state {
	BREAKER_CLOSED,
	BREAKER_OPEN,
	BREAKER_HALF_OPEN,
};

struct breaker {
	uint64_t failures;    /* one bit for each of the last 64 outcomes, the newest lowest; 1: failed */
	uint64_t probe_at_ns; /* while open */
	uint64_t backoff_ns;  /* of the next opening */
	enum breaker_state state;
	unsigned int known;	      /* outcomes in `failures` */
	unsigned int failed_in_a_row; /* ends at what opens */
	unsigned int good_in_a_row;   /* ends at what makes the back-off short */
};

void breaker_init(struct breaker *breaker);

/* Closed: commands may be sent to the node. */
bool breaker_allows(const struct breaker *breaker);

/*
 * Outcomes. While it is open they are late, of commands sent before, and change nothing. While it is half open, they
 * are the probe's; the caller reports no others then.
 */

/* True: it has just closed. */
bool breaker_succeeded(struct breaker *breaker);

/* True: it has just opened. A failed probe opens it again, but that is no news: false. */
bool breaker_failed(struct breaker *breaker, uint64_t now_ns, uint32_t random);

/* The node says that it cannot serve: opens at once. True: it has just opened. */
bool breaker_open_now(struct breaker *breaker, uint64_t now_ns, uint32_t random);

/* When the next probe is due, in ns; only while open. */
uint64_t breaker_probe_at(const struct breaker *breaker);

/* From open to half open; no change from elsewhere. A probe that could not be sent has failed. */
void breaker_begin_probe(struct breaker *breaker);

#endif
