/*
 * Reads what `hippocamp serve --record` has written (inference/fetch/request_trace.h): the look-ups of one or several
 * servers, in the order of their times.
 */
#ifndef HIPPOCAMP_SIMULATION_TRACE_FILE_H
#define HIPPOCAMP_SIMULATION_TRACE_FILE_H

#include "base/bytes.h"
#include "base/status.h"

struct lookup {
	uint64_t time_ms;
	uint64_t key; /* of the question; other models have other keys */
	uint64_t cost_us;
	uint32_t bytes;	 /* of the answer */
	uint32_t server; /* the number of the file */
	uint32_t index;	 /* in the order of reading */
};

struct trace {
	struct lookup *lookups;
	size_t count;
	size_t capacity;
	size_t servers;
	double share;	      /* of all keys: those that were recorded; 0: not known yet */
	struct bytes model;   /* set before: take no look-ups of others; empty: take all */
	struct bytes version; /* the same */
	size_t skipped;	      /* lines that could not be read, such as the last one of a server that was killed */
};

/* Adds the lines of a file. One without look-ups is refused, unless a model is given. Call trace_fini in any case. */
enum status trace_read(struct trace *trace, const char *path, struct error *error);

/* Of the content of a file; for tests. */
enum status trace_parse(struct trace *trace, struct bytes text, struct error *error);

void trace_sort(struct trace *trace); /* by time, after the last file */
void trace_fini(struct trace *trace);

#endif
