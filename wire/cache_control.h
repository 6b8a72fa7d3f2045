/*
 * The Cache-Control field of a request (RFC 9111, section 5.2.1).
 */
#ifndef HIPPOCAMP_WIRE_CACHE_CONTROL_H
#define HIPPOCAMP_WIRE_CACHE_CONTROL_H

#include "base/bytes.h"

struct cache_control {
	bool no_cache;
	bool no_store;
	bool only_if_cached;
	bool has_max_age;
	bool has_max_stale;
	uint64_t max_age_s;
	uint64_t max_stale_s; /* UINT64_MAX: without a limit */
};

/* Ignores directives that are unknown (RFC 9111, section 5.2.3) or ill-formed. */
struct cache_control cache_control_parse(struct bytes field);

#endif
