/*
 * Measurements for people and for spreadsheets, in perf_analyzer's forms.
 */
#ifndef HIPPOCAMP_MEASURE_SUMMARY_H
#define HIPPOCAMP_MEASURE_SUMMARY_H

#include "base/buf.h"
#include "measure/profile.h"

struct summary_style {
	enum measure_protocol protocol;
	size_t batch;
	double percentile; /* that the user has asked for; 0: none */
	bool is_cached;	   /* the model's configuration asks for the cache */
	bool has_statistics;
};

/* What one level has given, and the list of all at the end. */
void summary_print(const struct measurement *measurement, const struct summary_style *style, struct buf *out);
void summary_print_list(const struct measurement *measurements, size_t count, const struct summary_style *style,
			struct buf *out);

/* The CSV file of perf_analyzer's option -f. */
void summary_csv(const struct measurement *measurements, size_t count, const struct summary_style *style,
		 struct buf *out);

#endif
