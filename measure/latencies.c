#include "measure/latencies.h"

#include <math.h>
#include <stddef.h>

#define MAXIMUM ((UINT64_C(1) << LATENCIES_MAX_BITS) - 1)

/* Values of `LATENCIES_BITS + 1` bits have a counter each; each further bit halves the resolution. */
static size_t
index_of(uint64_t value)
{
	int bits = 64 - __builtin_clzll(value | 1);
	int shift = bits > LATENCIES_BITS + 1 ? bits - LATENCIES_BITS - 1 : 0;

	return ((size_t)shift << LATENCIES_BITS) + (size_t)(value >> shift);
}

static double
middle_of(size_t index)
{
	size_t shift = index >> LATENCIES_BITS > 0 ? (index >> LATENCIES_BITS) - 1 : 0;
	double lowest = (double)((index - (shift << LATENCIES_BITS)) << shift);

	return lowest + (double)((UINT64_C(1) << shift) - 1) / 2;
}

void
latencies_add(struct latencies *latencies, uint64_t ns)
{
	latencies->counts[index_of(ns < MAXIMUM ? ns : MAXIMUM)]++;
	latencies->count++;
	latencies->sum += (double)ns;
	latencies->squares += (double)ns * (double)ns;
}

void
latencies_merge(struct latencies *into, const struct latencies *from)
{
	for (size_t i = 0; i < LATENCIES_SIZE; i++) {
		into->counts[i] += from->counts[i];
	}
	into->count += from->count;
	into->sum += from->sum;
	into->squares += from->squares;
}

double
latencies_percentile(const struct latencies *latencies, double percent)
{
	double rank = ceil((double)latencies->count * percent / 100);
	uint64_t wanted = rank < 1 ? 1 : (uint64_t)rank;
	uint64_t seen = 0;

	for (size_t i = 0; i < LATENCIES_SIZE; i++) {
		seen += latencies->counts[i];
		if (seen >= wanted) {
			return middle_of(i);
		}
	}
	return 0;
}

double
latencies_mean(const struct latencies *latencies)
{
	return latencies->count == 0 ? 0 : latencies->sum / (double)latencies->count;
}

double
latencies_deviation(const struct latencies *latencies)
{
	double mean = latencies_mean(latencies);
	double variance = latencies->count == 0 ? 0 : latencies->squares / (double)latencies->count - mean * mean;

	return variance > 0 ? sqrt(variance) : 0;
}
