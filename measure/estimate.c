#include "measure/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONFIDENCE 0.95

static int
compare(const void *a, const void *b)
{
	double left = *(const double *)a;
	double right = *(const double *)b;

	return (left > right) - (left < right);
}

/* The probability that of `count` values fewer than `rank` are below the median, or as many above it. */
static double
outside(size_t count, size_t rank)
{
	double term = ldexp(1, -(int)count); /* of the binomial distribution */
	double sum = 0;

	for (size_t i = 0; i < rank; i++) {
		sum += term;
		term = term * (double)(count - i) / (double)(i + 1);
	}
	return 2 * sum;
}

struct estimate
estimate_of(const double *values, size_t count)
{
	double sorted[ESTIMATE_VALUES_MAX];
	size_t rank = 1;

	count = count < ESTIMATE_VALUES_MAX ? count : ESTIMATE_VALUES_MAX;
	if (count == 0) {
		return (struct estimate){0};
	}
	memcpy(sorted, values, count * sizeof(*values));
	qsort(sorted, count, sizeof(*sorted), compare);
	while (2 * (rank + 1) <= count && 1 - outside(count, rank + 1) >= CONFIDENCE) {
		rank++;
	}
	return (struct estimate){.median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2,
				 .low = sorted[rank - 1],
				 .high = sorted[count - rank],
				 .confidence = 1 - outside(count, rank)};
}

struct estimate
estimate_ratio(const double *values, const double *others, size_t count)
{
	double ratios[ESTIMATE_VALUES_MAX];
	size_t used = 0;

	for (size_t i = 0; i < count && i < ESTIMATE_VALUES_MAX; i++) {
		if (others[i] > 0) {
			ratios[used++] = values[i] / others[i];
		}
	}
	return estimate_of(ratios, used);
}

struct estimate
estimate_difference(const double *values, const double *others, size_t count)
{
	double differences[ESTIMATE_VALUES_MAX];

	count = count < ESTIMATE_VALUES_MAX ? count : ESTIMATE_VALUES_MAX;
	for (size_t i = 0; i < count; i++) {
		differences[i] = values[i] - others[i];
	}
	return estimate_of(differences, count);
}
