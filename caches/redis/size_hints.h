/*
 * A guess at how long a value will be, in bytes: as long as the last one of the same scope (its model). The table is
 * small and scopes share its slots; a wrong guess costs only time. One thread.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_SIZE_HINTS_H
#define HIPPOCAMP_CACHES_REDIS_SIZE_HINTS_H

#include "base/bytes.h"

#define SIZE_HINTS 256

/* Zeroed: nothing is known. */
struct size_hints {
	struct size_hint {
		uint32_t scope;
		uint32_t length;
	} hints[SIZE_HINTS];
};

/* Lengths above 4 GiB are noted as 4 GiB. */
void size_hints_note(struct size_hints *hints, struct bytes scope, size_t length);

/* 0: nothing is known of the scope. */
size_t size_hints_expect(const struct size_hints *hints, struct bytes scope);

#endif
