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
	uint64_t max_stale_s; /* UINT64_MAX where no limit is given */
};

/* Directives that are unknown or ill-formed are left out, as the RFC has it. */
struct cache_control cache_control_parse(struct bytes field);

#endif
