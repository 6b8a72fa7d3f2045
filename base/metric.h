/*
 * Metrics: counters that any thread may add to; functions that print the Prometheus text format (version 0.0.4); and
 * sinks, through which a module reports its metrics without knowing where they go.
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

/* Prints a family's HELP and TYPE lines; `type` is "counter", "gauge" or "histogram". */
void metric_family(struct buf *out, const char *name, const char *type, const char *help);

/* Appends one label, escaped, to `labels`: `name="value"`, with a comma before all but the first. */
void metric_label(struct buf *labels, const char *name, struct bytes value);

/* Prints one sample; `labels` may be empty. */
void metric_sample(struct buf *out, const char *name, struct bytes labels, uint64_t value);
void metric_sample_double(struct buf *out, const char *name, struct bytes labels, double value);

struct metric_label {
	const char *name;
	struct bytes value;
};

/* Call `family` before `sample` for its samples. The sink keeps no pointer to the arguments. */
struct metric_sink {
	void *context;
	void (*family)(void *context, const char *name, const char *type, const char *help);
	void (*sample)(void *context, const char *name, const struct metric_label *labels, size_t count, double value);
};

/* Returns a sink that prints to `out`. */
struct metric_sink metric_printer(struct buf *out);

static inline void
metric_emit_family(const struct metric_sink *sink, const char *name, const char *type, const char *help)
{
	sink->family(sink->context, name, type, help);
}

/* `label` may be NULL. */
static inline void
metric_emit(const struct metric_sink *sink, const char *name, const struct metric_label *label, uint64_t value)
{
	sink->sample(sink->context, name, label, label != NULL, (double)value);
}

/* Reports a family with one sample. */
static inline void
metric_emit_one(const struct metric_sink *sink, const char *name, const char *type, const char *help, uint64_t value)
{
	metric_emit_family(sink, name, type, help);
	metric_emit(sink, name, NULL, value);
}

#endif
