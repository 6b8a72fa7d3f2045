#include "measure/popularity.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>

struct popularity {
	struct popularity_options options;
	uint64_t random;
	uint64_t asked;	   /* inputs so far, where none is asked for twice */
	double *cumulated; /* by rank: the share of it and all that are more popular; NULL: all are alike */
};

uint64_t
random_next(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

double
popularity_random(struct popularity *popularity)
{
	return ldexp((double)(random_next(&popularity->random) >> 11), -53);
}

static double *
cumulate(uint64_t distinct, double alpha)
{
	double *shares = memory_array(distinct, sizeof(*shares));
	double sum = 0;

	for (uint64_t i = 0; i < distinct; i++) {
		sum += pow((double)(i + 1), -alpha);
		shares[i] = sum;
	}
	for (uint64_t i = 0; i < distinct; i++) {
		shares[i] /= sum;
	}
	return shares;
}

struct popularity *
popularity_new(const struct popularity_options *options)
{
	struct popularity *popularity = memory_new(sizeof(*popularity));

	popularity->options = *options;
	popularity->random = options->seed;
	if (options->distinct > 1 && options->alpha > 0) {
		popularity->cumulated = cumulate(options->distinct, options->alpha);
	}
	return popularity;
}

void
popularity_free(struct popularity *popularity)
{
	if (popularity != NULL) {
		free(popularity->cumulated);
		free(popularity);
	}
}

/* The first rank whose cumulated share is above `draw`. */
static uint64_t
rank_of(const struct popularity *popularity, double draw)
{
	uint64_t low = 0;
	uint64_t high = popularity->options.distinct - 1;

	if (popularity->cumulated == NULL) {
		return (uint64_t)(draw * (double)popularity->options.distinct);
	}
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (popularity->cumulated[middle] > draw) {
			high = middle;
		} else {
			low = middle + 1;
		}
	}
	return low;
}

uint64_t
popularity_next(struct popularity *popularity, uint64_t elapsed_ns)
{
	const struct popularity_options *options = &popularity->options;
	uint64_t newest;

	if (options->distinct == 0) {
		return options->first + popularity->asked++;
	}
	/* Inputs are numbered as they appear: the most popular one is the newest. */
	newest = options->distinct - 1 + (uint64_t)(options->drift * (double)elapsed_ns / 1e9);
	return newest - (options->distinct == 1 ? 0 : rank_of(popularity, popularity_random(popularity)));
}
