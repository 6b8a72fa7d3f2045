/*
 * Which of many inputs a request has: draws from a Zipf distribution, in which the k-th most popular input has a weight
 * of 1 / k^alpha (Breslau et al., "Web Caching and Zipf-like Distributions", INFOCOM 1999), while the popularity may
 * drift: new inputs become the most popular, and each other one moves down. The same seed gives the same draws. Owned
 * by one thread.
 */
#ifndef HIPPOCAMP_MEASURE_POPULARITY_H
#define HIPPOCAMP_MEASURE_POPULARITY_H

#include <stdint.h>

#define POPULARITY_MAX UINT64_C(10000000)

struct popularity_options {
	uint64_t distinct; /* inputs that are asked for at one time; 0: no input is asked for twice */
	uint64_t first;	   /* the number of the first input, if `distinct` is 0 */
	double alpha;	   /* 0: all of them alike */
	double drift;	   /* new inputs a second */
	uint64_t seed;
};

struct popularity;

/* `options->distinct` is at most POPULARITY_MAX. */
struct popularity *popularity_new(const struct popularity_options *options);
void popularity_free(struct popularity *popularity); /* NULL: none */

/* Returns the number of the next request's input, at `elapsed_ns` since the start. */
uint64_t popularity_next(struct popularity *popularity, uint64_t elapsed_ns);

/* A random number from 0 to 1, without 1, of the same sequence. */
double popularity_random(struct popularity *popularity);

/* The next number of SplitMix64 (Steele et al., OOPSLA 2014). */
uint64_t random_next(uint64_t *state);

#endif
