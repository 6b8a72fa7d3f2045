/*
 * How long an answer is good for. An entry is fresh for its lifetime (its TTL, varied by a tenth so that entries stored
 * together do not expire together); then it is stale, and may be used within the windows of RFC 5861 (stale while
 * revalidate, stale if error) and where the request allows it (RFC 9111, section 5.2.1). Before that it may be
 * refreshed ahead of its expiry: XFetch (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede
 * Prevention", VLDB 2015), where the chance grows with what the answer cost to compute.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_FRESHNESS_H
#define HIPPOCAMP_INFERENCE_CACHE_FRESHNESS_H

#include <stdbool.h>
#include <stdint.h>

struct freshness_policy {
	uint64_t ttl_ms;	/* 0: no end */
	uint64_t revalidate_ms; /* stale_while_revalidate */
	uint64_t on_error_ms;	/* stale_if_error */
	double refresh_ahead;	/* XFetch's beta; 0: off */
};

/* What a request wants of the cache. */
struct cache_directives {
	bool bypass;	    /* neither look up nor store */
	bool refresh;	    /* do not look up, store */
	bool no_store;	    /* look up, do not store */
	bool only;	    /* never run the model */
	bool has_max_age;   /* an answer older than max_age_s will not do */
	bool has_max_stale; /* an answer that is stale for up to max_stale_s will do */
	uint64_t max_age_s;
	uint64_t max_stale_s;
};

/* May the model run behind such a request's back? */
static inline bool
cache_directives_renew(const struct cache_directives *directives)
{
	return !directives->only && !directives->no_store;
}

struct freshness_entry {
	uint64_t created_ms; /* since 1970 */
	uint64_t lifetime_ms;
	uint64_t cost_us;
};

enum freshness {
	FRESHNESS_USE,
	FRESHNESS_REVALIDATE, /* use it, and run the model behind the client's back */
	FRESHNESS_STALE,      /* run the model */
	FRESHNESS_TOO_OLD,    /* for this request: run the model */
};

/* `chance` is uniform in (0, 1]. *on_error: may it be used if the run fails? */
enum freshness freshness_judge(const struct freshness_policy *policy, const struct cache_directives *directives,
			       const struct freshness_entry *entry, uint64_t now_ms, double chance, bool *on_error);

/* A lifetime for a new entry; 0: no end. */
uint64_t freshness_lifetime_ms(const struct freshness_policy *policy, double chance);

/*
 * Is it dated so far ahead that the clock of who made it must be wrong, or ours? Its age is not known then, and is not
 * taken for 0, which would give it more than its lifetime: it is too old wherever that matters. That a store still has
 * it proves nothing, since it may keep the time by that same clock, before and after it is set right.
 */
bool freshness_is_ahead(const struct freshness_entry *entry, uint64_t now_ms);

bool freshness_is_fresh(const struct freshness_entry *entry, uint64_t now_ms);

/* What is left of a span that began when the entry was created, at least 1; 0: no end, as the span. */
uint64_t freshness_left_ms(const struct freshness_entry *entry, uint64_t span_ms, uint64_t now_ms);

/* How long a store has to keep an entry of that lifetime; 0: no end. */
uint64_t freshness_keep_ms(const struct freshness_policy *policy, uint64_t lifetime_ms);

#endif
