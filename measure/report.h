/*
 * The report of a comparison: a recommendation with its reason, tables, charts, and how to measure it again; as
 * Markdown with pictures beside it, and as one HTML file that needs nothing else.
 */
#ifndef HIPPOCAMP_MEASURE_REPORT_H
#define HIPPOCAMP_MEASURE_REPORT_H

#include "base/buf.h"
#include "measure/comparison.h"

enum report_chart { REPORT_THROUGHPUT, REPORT_LATENCY, REPORT_BREAK_EVEN };
#define REPORT_CHARTS 3

/* The file names of the charts begin with that of the model. */
const char *report_chart_name(enum report_chart chart);
void report_chart(const struct comparison *comparison, enum report_chart chart, struct buf *svg);

/* `command` is the command line that made it, `machine` what it ran on. */
void report_markdown(const struct comparison *comparison, const char *command, const char *machine, struct buf *out);
void report_html(const struct comparison *comparison, const char *command, const char *machine, struct buf *out);

/* What the figures recommend, in some sentences. */
void report_recommendation(const struct comparison *comparison, struct buf *out);

#endif
