/*
 * What a few measurements tell of the true value, without assumptions on their distribution: the median, and an
 * interval between two of the sorted values (Conover, "Practical Nonparametric Statistics", section 3.2).
 */
#ifndef HIPPOCAMP_MEASURE_ESTIMATE_H
#define HIPPOCAMP_MEASURE_ESTIMATE_H

#include <stddef.h>

#define ESTIMATE_VALUES_MAX 100

struct estimate {
	double median;
	double low;
	double high;
	double confidence; /* that the true median is from `low` to `high` */
};

/*
 * The narrowest such interval with a confidence of 95 %, which 6 values or more can give; of fewer, from the least to
 * the greatest. All zero if there are no values.
 */
struct estimate estimate_of(const double *values, size_t count);

/* Of the ratios of two series, pair by pair. */
struct estimate estimate_ratio(const double *values, const double *others, size_t count);

/* Of their differences, likewise. */
struct estimate estimate_difference(const double *values, const double *others, size_t count);

#endif
