/*
 * Metrics: counters that any thread may add to, and the Prometheus text format (version 0.0.4) that prints them.
 */
#ifndef HIPPOCAMP_BASE_METRIC_H
#define HIPPOCAMP_BASE_METRIC_H

#include "base/buf.h"

#include <stdatomic.h>

typedef _Atomic uint64_t counter;

static inline void
counter_add(counter *at, uint64_t amount)
{
	atomic_fetch_add_explicit(at, amount, memory_order_relaxed);
}

static inline uint64_t
counter_read(const counter *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

/* A family's HELP and TYPE lines; `type` is "counter", "gauge" or "histogram". */
void metric_family(struct buf *out, const char *name, const char *type, const char *help);

/* One label at the end of `labels`, escaped: `name="value"`, with a comma before all but the first. */
void metric_label(struct buf *labels, const char *name, struct bytes value);

/* One sample; `labels` may be empty. */
void metric_sample(struct buf *out, const char *name, struct bytes labels, uint64_t value);
void metric_sample_double(struct buf *out, const char *name, struct bytes labels, double value);

#endif
