/*
 * Figures on the host's own metrics page, by its metric functions: a sink (base/metric.h) whose families and samples
 * are made in the host when they are told for the first time, moved when they are told again, and deleted when they are
 * not told any more. One thread at a time.
 */
#ifndef HIPPOCAMP_PLUGINS_FIGURES_H
#define HIPPOCAMP_PLUGINS_FIGURES_H

#include "base/metric.h"

struct figures;

/* NULL where there is no memory, or the host has no metrics. */
struct figures *figures_new(void);
void figures_free(struct figures *figures);

/* Everything that there is to tell is told between these two. */
const struct metric_sink *figures_begin(struct figures *figures);
void figures_end(struct figures *figures);

#endif
