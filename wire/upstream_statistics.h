/*
 * The statistics of a server behind, with what was answered in front of it: Triton's statistics extension, as JSON.
 */
#ifndef HIPPOCAMP_WIRE_UPSTREAM_STATISTICS_H
#define HIPPOCAMP_WIRE_UPSTREAM_STATISTICS_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* What a cache has answered of one version of a model: to be added to what the server says of it. */
struct cached_answers {
	struct bytes name;
	int64_t version;
	uint64_t hits;
	uint64_t hit_ns;
	uint64_t misses;
	uint64_t miss_ns;
	uint64_t last_ms; /* the last run for them; counts if it is later */
};

/*
 * Appends the document with the answers counted as Triton counts those of its own cache: as successes, cache hits, and
 * waits in the queue of no length.
 * False: it is no such document.
 */
bool upstream_statistics_add(struct bytes json, const struct cached_answers *answers, size_t count, struct buf *out);

#endif
