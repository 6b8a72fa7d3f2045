/*
 * What GET /v2/cache says, for the programs that ask a server for it.
 */
#ifndef HIPPOCAMP_WIRE_CACHE_REPORT_H
#define HIPPOCAMP_WIRE_CACHE_REPORT_H

#include "base/arena.h"
#include "base/status.h"

#include <stdint.h>

struct cache_report_setting {
	struct bytes name;
	struct bytes value;
};

struct cache_report_model {
	struct bytes name;
	struct bytes version;
	struct bytes granularity; /* "row" or "request": see docs/guide.md */
	/* Rows or requests, as the granularity says. */
	uint64_t lookups;
	uint64_t hits;
	uint64_t misses;
	uint64_t joined;   /* waited for an equal one that was running already */
	uint64_t bypassed; /* by the request's own wish */
	uint64_t errors;
	double saved_seconds; /* of compute */
};

struct cache_report {
	struct bytes description; /* of the store */
	struct cache_report_setting *settings;
	size_t setting_count;
	struct cache_report_model *models;
	size_t model_count;
	/* Sums over the models. */
	uint64_t lookups;
	uint64_t hits;
	/* Of the store. Redis tells neither bytes nor entries: 0. */
	uint64_t capacity_bytes;
	uint64_t used_bytes;
	uint64_t entries;
	uint64_t inserts;
	uint64_t dropped;
	uint64_t evictions;
	uint64_t lookup_failures;
};

/* The report is copied to the arena. STATUS_INTERNAL: it is no such document. */
enum status cache_report_decode(struct bytes json, struct arena *arena, struct cache_report *report,
				struct error *error);

/* The answer to a purge. */
enum status cache_purged_decode(struct bytes json, uint64_t *removed, struct error *error);

#endif
