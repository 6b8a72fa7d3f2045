/*
 * A circuit breaker (Michael T. Nygard, "Release It!"): a node that fails again and again is asked no more, except for
 * one probe at a time, until a probe succeeds.
 *
 * Closed, it counts outcomes. It opens after 5 failures in a row, or when at least 20 of the last 64 outcomes are known
 * and at least half of them failed. Open, it waits for a back-off of 50 ms, which every opening doubles, up to 1000 ms;
 * half of it is fixed and half is random, so that clients that lost the same node do not return all at once. Then it is
 * half open, and one probe is sent: success closes it and resets the counts, failure opens it again.
 *
 * Only 20 successes in a row reset the back-off to 50 ms: a node that fails right after closing keeps the longer one.
 *
 * It has no clock and no lock: the caller passes the time and random bits, and calls from one thread.
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
	unsigned int failed_in_a_row; /* at most as many as open the breaker */
	unsigned int good_in_a_row;   /* at most as many as reset the back-off */
};

void breaker_init(struct breaker *breaker);

/* Whether commands may be sent to the node: it is closed. */
bool breaker_allows(const struct breaker *breaker);

/*
 * Report outcomes. While the breaker is open, they are those of commands sent earlier and change nothing. While it is
 * half open, the caller must report only the outcome of the probe.
 */

/* Returns true if this closes the breaker. */
bool breaker_succeeded(struct breaker *breaker);

/* Returns true if this opens a closed breaker. A failed probe opens it again, but returns false. */
bool breaker_failed(struct breaker *breaker, uint64_t now_ns, uint32_t random);

/* Opens the breaker at once, as the node says that it cannot serve. Returns true if it was closed. */
bool breaker_open_now(struct breaker *breaker, uint64_t now_ns, uint32_t random);

/* When the next probe is due, in ns; only while open. */
uint64_t breaker_probe_at(const struct breaker *breaker);

/* Makes an open breaker half open; does nothing in other states. A probe that could not be sent counts as failed. */
void breaker_begin_probe(struct breaker *breaker);

#endif
