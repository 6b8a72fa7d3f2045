/*
 * When answers were renewed behind the clients' backs. Where the store does not keep what a renewal brings (it is full,
 * or read-only), each request would find the stale answer again and begin another run of the model: then the runs of
 * one key come ever less often, from one a second to one a minute.
 *
 * A table of fixed size without locks; a key that loses its place to another's only begins anew. Any thread.
 */
#ifndef HIPPOCAMP_INFERENCE_FETCH_RENEWALS_H
#define HIPPOCAMP_INFERENCE_FETCH_RENEWALS_H

#include "base/digest.h"

#include <stdatomic.h>
#include <stdbool.h>

#define RENEWALS_SIZE 4096

struct renewals {
	_Atomic uint64_t places[RENEWALS_SIZE]; /* a tag of the key, the steps of waiting, when it began */
};

/* `created_ms` is the date of the answer that was found, and both are in ms since 1970. True: begin. */
bool renewals_begin(struct renewals *renewals, const struct digest_value *key, uint64_t created_ms, uint64_t now_ms);

#endif
