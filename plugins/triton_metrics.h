/*
 * Metrics on the host's own metrics page, by its metric functions: a sink (base/metric.h) that makes families and
 * samples in the host when they are emitted for the first time, updates samples that are emitted again, and deletes
 * samples that are not emitted any more. One thread at a time.
 */
#ifndef HIPPOCAMP_PLUGINS_TRITON_METRICS_H
#define HIPPOCAMP_PLUGINS_TRITON_METRICS_H

#include "base/metric.h"

struct triton_metrics;

/* NULL where there is no memory, or the host has no metrics. */
struct triton_metrics *triton_metrics_new(void);
void triton_metrics_free(struct triton_metrics *figures);

/* Emit all metrics between these two calls. */
const struct metric_sink *triton_metrics_begin(struct triton_metrics *figures);
void triton_metrics_end(struct triton_metrics *figures);

#endif
