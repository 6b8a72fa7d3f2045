#include "inference/cache/freshness.h"

#include <math.h>

#define JITTER 0.1
#define AHEAD_MAX_MS 1000 /* tolerated difference between clocks */

static uint64_t
age_ms(const struct freshness_entry *entry, uint64_t now_ms)
{
	return now_ms > entry->created_ms ? now_ms - entry->created_ms : 0;
}

static bool
refreshes_ahead(const struct freshness_policy *policy, const struct freshness_entry *entry, uint64_t age, double chance)
{
	double head_start_ms = -policy->refresh_ahead * ((double)entry->cost_us / 1000.0) * log(chance);

	return policy->refresh_ahead > 0 && (double)age + head_start_ms >= (double)entry->lifetime_ms;
}

bool
freshness_is_ahead(const struct freshness_entry *entry, uint64_t now_ms)
{
	return entry->created_ms > now_ms + AHEAD_MAX_MS;
}

enum freshness
freshness_judge(const struct freshness_policy *policy, const struct cache_directives *directives,
		const struct freshness_entry *entry, uint64_t now_ms, double chance, bool *on_error)
{
	uint64_t age = age_ms(entry, now_ms);
	uint64_t stale_ms;

	*on_error = false;
	if (freshness_is_ahead(entry, now_ms) && (entry->lifetime_ms > 0 || directives->has_max_age)) {
		return FRESHNESS_TOO_OLD; /* its age is unknown */
	}
	if (directives->has_max_age && age / 1000 >= directives->max_age_s &&
	    (age / 1000 > directives->max_age_s || directives->max_age_s == 0)) {
		return FRESHNESS_TOO_OLD;
	}
	if (entry->lifetime_ms == 0) {
		return FRESHNESS_USE;
	}
	if (age < entry->lifetime_ms) {
		return refreshes_ahead(policy, entry, age, chance) ? FRESHNESS_REVALIDATE : FRESHNESS_USE;
	}
	stale_ms = age - entry->lifetime_ms;
	*on_error = stale_ms < policy->on_error_ms;
	if (stale_ms < policy->revalidate_ms) {
		return FRESHNESS_REVALIDATE;
	}
	if (directives->has_max_stale && stale_ms / 1000 <= directives->max_stale_s) {
		return FRESHNESS_USE;
	}
	return FRESHNESS_STALE;
}

uint64_t
freshness_lifetime_ms(const struct freshness_policy *policy, double chance)
{
	double factor = 1 - JITTER + 2 * JITTER * chance;
	uint64_t lifetime = (uint64_t)((double)policy->ttl_ms * factor);

	return policy->ttl_ms > 0 && lifetime == 0 ? 1 : lifetime;
}

bool
freshness_is_fresh(const struct freshness_entry *entry, uint64_t now_ms)
{
	return entry->lifetime_ms == 0 ||
	       (age_ms(entry, now_ms) < entry->lifetime_ms && !freshness_is_ahead(entry, now_ms));
}

uint64_t
freshness_left_ms(const struct freshness_entry *entry, uint64_t span_ms, uint64_t now_ms)
{
	uint64_t age = age_ms(entry, now_ms);

	return span_ms == 0 ? 0 : span_ms > age ? span_ms - age : 1;
}

uint64_t
freshness_keep_ms(const struct freshness_policy *policy, uint64_t lifetime_ms)
{
	uint64_t window = policy->revalidate_ms > policy->on_error_ms ? policy->revalidate_ms : policy->on_error_ms;

	return lifetime_ms == 0 ? 0 : lifetime_ms + window;
}
