/*
 * When answers were renewed in the background. If the store does not keep the results (it is full, or read-only), each
 * request would find the stale answer again and begin another run of the model; so the renewals of one key back off,
 * from one a second to one a minute.
 *
 * A table of fixed size without locks; a key that loses its place to another starts over. Any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_RENEWALS_H
#define HIPPOCAMP_INFERENCE_FETCH_RENEWALS_H

#include "base/digest.h"

#include <stdatomic.h>
#include <stdbool.h>

#define RENEWALS_SIZE 4096

struct renewals {
	_Atomic uint64_t places[RENEWALS_SIZE]; /* tag of the key, back-off step, time of the last renewal */
};

/*
 * May a renewal begin? If so, it counts as begun. `created_ms` is the date of the answer found; both are in ms since
 * 1970.
 */
bool renewals_begin(struct renewals *renewals, const struct digest_value *key, uint64_t created_ms, uint64_t now_ms);

#endif
