/*
 * Measures windows of a load until they are stable, as perf_analyzer does: until throughput and latency of the last
 * three differ by no more than a given share. On one loop's thread.
 */
#ifndef HIPPOCAMP_MEASURE_PROFILE_H
#define HIPPOCAMP_MEASURE_PROFILE_H

#include "measure/load.h"
#include "measure/target.h"

#define PROFILE_WINDOWS 3 /* that must be alike, and that are reported together */

struct profile_options {
	uint64_t interval_ns; /* of a window */
	unsigned trials;      /* windows at most */
	uint64_t requests;    /* in all, in one window; 0: windows until they are stable */
	double stability;     /* the allowed difference from the mean, as a share of it */
	double percentile;    /* of latency, which must be stable; 0: the mean */
	/* Called each second with what the present window, counted from 1, has so far. NULL: nobody wants to know. */
	void (*progress)(void *context, unsigned window, const struct load_window *so_far);
	void *context;
};

/* What the last windows together tell. */
struct measurement {
	double level; /* requests at a time, or a second */
	bool is_rate;
	bool is_stable;
	bool is_interrupted;
	uint64_t ns;		   /* their length */
	struct load_window window; /* their sum */
	struct model_statistics server;
};

/* Measures. Fails if no request was answered: the message says why. */
enum status profile_run(struct target *target, const struct request_form *form, const struct load_options *load,
			const struct profile_options *options, const bool *stopped, struct measurement *measurement,
			struct error *error);

/* Inferences a second, and latency in ns: of `percent`, or 0 for the mean. */
double measurement_throughput(const struct measurement *measurement, size_t batch);
double window_latency(const struct load_window *window, double percent);

/* For profile_run: are they alike? */
bool profile_is_stable(const struct load_window *windows, size_t count, const struct profile_options *options);

#endif
