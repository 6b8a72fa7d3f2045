/*
 * Which look-ups are worth their time. A store that answers, but later than lookup_timeout, costs each request that
 * time and gives nothing. So after many late answers in a row look-ups are skipped, and one now and then finds out
 * whether the store is quick again; and a key whose value came late twice in a row, because it is large, say, is left
 * alone for a moment.
 *
 * It remembers the sizes of values, too, by key: a large one is asked for in another way. Any thread may call.
 */
#ifndef HIPPOCAMP_PLUGINS_LATENCY_BREAKER_H
#define HIPPOCAMP_PLUGINS_LATENCY_BREAKER_H

#include "base/digest.h"

#include <stdatomic.h>

#define LATENCY_BREAKER_KEYS 4096

/* All zero: nothing is known. */
struct latency_breaker {
	atomic_uint late_in_row;
	_Atomic uint64_t late_ns;  /* when the last one of them ended */
	_Atomic uint64_t tried_ns; /* while look-ups are skipped: the last one that was not */
	struct latency_breaker_key {
		_Atomic uint32_t size;	  /* of the value; 0: not known */
		_Atomic uint32_t late_ms; /* the last late one, of clock_now_ns(), cut */
		_Atomic uint32_t late_in_row;
	} keys[LATENCY_BREAKER_KEYS];
};

enum latency_breaker_change {
	LATENCY_BREAKER_AS_BEFORE,
	LATENCY_BREAKER_LOST,  /* from now on look-ups are skipped */
	LATENCY_BREAKER_FOUND, /* … and not any more */
};

bool latency_breaker_allows(struct latency_breaker *latency_breaker, const struct digest_value *digest,
			    uint64_t now_ns);

/*
 * A look-up that was allowed was late, or was not. Of several that were under way at a time one counts: what holds up
 * one holds up all.
 */
enum latency_breaker_change latency_breaker_note(struct latency_breaker *latency_breaker,
						 const struct digest_value *digest, bool late, uint64_t start_ns,
						 uint64_t now_ns);

uint32_t latency_breaker_size(struct latency_breaker *latency_breaker, const struct digest_value *digest);
void latency_breaker_note_size(struct latency_breaker *latency_breaker, const struct digest_value *digest, size_t size);

#endif
