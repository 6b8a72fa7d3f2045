/*
 * Decides which look-ups are worth their time. A store that answers later than lookup_timeout costs each request that
 * time and gives nothing. So after many late answers in a row look-ups are skipped, but for one now and then, which
 * tests whether the store is fast again. Look-ups of a key whose value was late twice in a row (a large one, say) are
 * skipped for a moment.
 *
 * It also remembers the sizes of values, by key, since large ones are asked for in another way. Any thread may call.
 */
#ifndef HIPPOCAMP_PLUGINS_LATENCY_BREAKER_H
#define HIPPOCAMP_PLUGINS_LATENCY_BREAKER_H

#include "base/digest.h"

#include <stdatomic.h>

#define LATENCY_BREAKER_KEYS 4096

/* All zero: nothing is known. */
struct latency_breaker {
	atomic_uint late_in_row;
	_Atomic uint64_t late_ns;  /* when the last late look-up ended */
	_Atomic uint64_t tried_ns; /* while look-ups are skipped: when one was last allowed */
	struct latency_breaker_key {
		_Atomic uint32_t size;	  /* bytes of the value; 0: not known */
		_Atomic uint32_t late_ms; /* end of the last late look-up: low 32 bits of milliseconds */
		_Atomic uint32_t late_in_row;
	} keys[LATENCY_BREAKER_KEYS];
};

enum latency_breaker_change {
	LATENCY_BREAKER_AS_BEFORE,
	LATENCY_BREAKER_LOST,  /* from now on look-ups are skipped */
	LATENCY_BREAKER_FOUND, /* look-ups are not skipped any more */
};

bool latency_breaker_allows(struct latency_breaker *latency_breaker, const struct digest_value *digest,
			    uint64_t now_ns);

/*
 * Notes whether an allowed look-up was late. Of several late ones at a time only one counts, since what delays one
 * delays all.
 */
enum latency_breaker_change latency_breaker_note(struct latency_breaker *latency_breaker,
						 const struct digest_value *digest, bool late, uint64_t start_ns,
						 uint64_t now_ns);

uint32_t latency_breaker_size(struct latency_breaker *latency_breaker, const struct digest_value *digest);
void latency_breaker_note_size(struct latency_breaker *latency_breaker, const struct digest_value *digest, size_t size);

#endif
