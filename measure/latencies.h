/*
 * A histogram of durations: exact below 256 ns, above with a relative error of less than 1/128, up to 2^40 ns (18
 * minutes). The counters are log-linear, as those of HdrHistogram (Gil Tene, 2012), and take fixed memory. Owned by one
 * thread.
 */
#ifndef HIPPOCAMP_MEASURE_LATENCIES_H
#define HIPPOCAMP_MEASURE_LATENCIES_H

#include <stdint.h>

#define LATENCIES_BITS 7 /* of precision */
#define LATENCIES_MAX_BITS 40
#define LATENCIES_SIZE ((LATENCIES_MAX_BITS - LATENCIES_BITS + 1) << LATENCIES_BITS)

/* Zeroed: empty. */
struct latencies {
	uint64_t count;
	double sum;
	double squares; /* their sum */
	uint64_t counts[LATENCIES_SIZE];
};

void latencies_add(struct latencies *latencies, uint64_t ns); /* of more than 2^40 ns: as that */
void latencies_merge(struct latencies *into, const struct latencies *from);

/* 0 if it is empty. `percent`: 0 to 100; the result is the middle of a counter's range. */
double latencies_percentile(const struct latencies *latencies, double percent);
double latencies_mean(const struct latencies *latencies);
double latencies_deviation(const struct latencies *latencies);

#endif
