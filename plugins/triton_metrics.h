/*
 * Figures on the host's own metrics page, by its metric functions: a sink (base/metric.h) whose families and samples
 * are made in the host when they are told for the first time, moved when they are told again, and deleted when they are
 * not told any more. One thread at a time.
 */
#ifndef HIPPOCAMP_PLUGINS_TRITON_METRICS_H
#define HIPPOCAMP_PLUGINS_TRITON_METRICS_H

#include "base/metric.h"

struct triton_metrics;

/* NULL where there is no memory, or the host has no metrics. */
struct triton_metrics *triton_metrics_new(void);
void triton_metrics_free(struct triton_metrics *figures);

/* Everything that there is to tell is told between these two. */
const struct metric_sink *triton_metrics_begin(struct triton_metrics *figures);
void triton_metrics_end(struct triton_metrics *figures);

#endif
