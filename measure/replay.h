/*
 * A record of requests that is sent again: which of the inputs each has, and when it is due. Immutable once made; any
 * thread.
 */
#ifndef HIPPOCAMP_MEASURE_REPLAY_H
#define HIPPOCAMP_MEASURE_REPLAY_H

#include <stddef.h>
#include <stdint.h>

/* What was asked for, in the order of time. */
struct replay_request {
	uint64_t key; /* the same one: the same input */
	uint64_t time_ms;
};

struct replay;

/* At least one. */
struct replay *replay_new(const struct replay_request *requests, size_t count);
void replay_free(struct replay *replay); /* NULL: none */

size_t replay_count(const struct replay *replay);
size_t replay_distinct(const struct replay *replay); /* keys */

/* The input's number: keys are numbered from 0 on as they appear. */
uint64_t replay_number(const struct replay *replay, size_t index);

/* Time since the first request; of an index beyond the last one, so far off that it never comes. */
uint64_t replay_time_ns(const struct replay *replay, size_t index);

/* Requests a second, as a mean; of a single moment as if it had lasted a millisecond. */
double replay_rate(const struct replay *replay);

#endif
