/*
 * What GET /history on a server's metrics port says, for the programs that ask for it.
 */
#ifndef HIPPOCAMP_WIRE_HISTORY_REPORT_H
#define HIPPOCAMP_WIRE_HISTORY_REPORT_H

#include "base/bytes.h"
#include "base/status.h"

/* Sums over the last seconds; latencies are the last second's that had any, in microseconds. */
struct history_report {
	size_t seconds;	  /* that are summed up */
	uint64_t last_ms; /* the time of the last sample, since 1970; 0: there is none */
	uint64_t requests;
	uint64_t failures;
	uint64_t hits; /* rows that the cache has answered, or an equal one under way */
	uint64_t rows;
	uint64_t saved_us;
	uint64_t evictions;
	uint64_t hit_p50_us;
	uint64_t hit_p99_us;
	uint64_t model_p50_us;
	uint64_t model_p99_us;
	uint64_t entries;
	uint64_t used_bytes;
};

/* Sums up the last `seconds` of the samples, or as many as there are. STATUS_INTERNAL: it is no such document. */
enum status history_report_decode(struct bytes json, size_t seconds, struct history_report *report,
				  struct error *error);

#endif
