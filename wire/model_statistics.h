/*
 * What a server counts of a model: Triton's statistics extension, as its client reads it.
 */
#ifndef HIPPOCAMP_WIRE_MODEL_STATISTICS_H
#define HIPPOCAMP_WIRE_MODEL_STATISTICS_H

#include "base/bytes.h"
#include "base/status.h"

/* Of requests or executions, and how long these took together. */
struct statistics_duration {
	uint64_t count;
	uint64_t ns;
};

enum statistics_kind {
	STATISTICS_SUCCESS,
	STATISTICS_FAIL,
	STATISTICS_QUEUE,
	STATISTICS_COMPUTE_INPUT,
	STATISTICS_COMPUTE_INFER,
	STATISTICS_COMPUTE_OUTPUT,
	STATISTICS_CACHE_HIT,
	STATISTICS_CACHE_MISS,
};
#define STATISTICS_KINDS 8

struct model_statistics {
	uint64_t inferences;
	uint64_t executions;
	struct statistics_duration durations[STATISTICS_KINDS];
};

/* The sums over all versions in the document. What a server leaves out counts as 0. */
enum status model_statistics_decode(struct bytes json, struct model_statistics *statistics, struct error *error);

/* What has been counted from `before` to `after`; nothing if the server began anew between them. */
struct model_statistics model_statistics_between(const struct model_statistics *before,
						 const struct model_statistics *after);

#endif
