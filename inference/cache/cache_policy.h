/*
 * How the answers of one model are cached: the cache's settings, overridden by the model's parameters
 * (`response_cache.*` in its config).
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_CACHE_POLICY_H
#define HIPPOCAMP_INFERENCE_CACHE_CACHE_POLICY_H

#include "base/model_config.h"
#include "base/option.h"
#include "inference/cache/freshness.h"

enum cache_admission { ADMISSION_ALWAYS, ADMISSION_AUTO };
enum cache_granularity { GRANULARITY_AUTO, GRANULARITY_ROW, GRANULARITY_REQUEST };

struct cache_policy {
	int64_t ttl_s;
	int64_t stale_while_revalidate_s;
	int64_t stale_if_error_s;
	double refresh_ahead;
	int admission; /* enum cache_admission */
	int64_t audit; /* first answers to audit; 0: none */
	double audit_tolerance;
	int granularity; /* enum cache_granularity; for models only */
};

/* The options of a cache: all but the granularity. Offsets are those of struct cache_policy. */
extern const struct option_table cache_policy_options;

/* Overrides the cache's settings in `policy` with the model's. An error names the parameter. */
enum status cache_policy_read(const struct model_config *config, struct cache_policy *policy, struct error *error);

/* Does this config parameter only steer the cache, so that it changes no answer? */
bool cache_policy_is_parameter(struct bytes name);

struct freshness_policy cache_policy_freshness(const struct cache_policy *policy);

#endif
