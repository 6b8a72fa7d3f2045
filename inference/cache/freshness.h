/*
 * How long an answer may be used. An entry is fresh for its lifetime (its TTL, varied by a tenth so that entries stored
 * together do not expire together); then it is stale, and may be used within the windows of RFC 5861 (stale while
 * revalidate, stale if error) and where the request allows it (RFC 9111, section 5.2.1). While fresh, it may be
 * refreshed ahead of its expiry by XFetch (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede
 * Prevention", VLDB 2015), with a chance that grows with the cost of computing the answer.
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

/* The cache directives of a request. */
struct cache_directives {
	bool bypass;	    /* neither look up nor store */
	bool refresh;	    /* do not look up, but store */
	bool no_store;	    /* look up, but do not store */
	bool only;	    /* never run the model */
	bool alone;	    /* neither wait for an equal request that is under way, nor be waited for */
	bool has_max_age;   /* reject answers older than max_age_s */
	bool has_max_stale; /* accept answers that are stale for up to max_stale_s */
	uint64_t max_age_s;
	uint64_t max_stale_s;
};

/* May a background run renew what such a request found? */
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
	FRESHNESS_REVALIDATE, /* use it, and run the model in the background */
	FRESHNESS_STALE,      /* run the model */
	FRESHNESS_TOO_OLD,    /* too old for this request: run the model */
};

/* `chance` is uniform in (0, 1]. Sets *on_error: may the entry be used if the run fails? */
enum freshness freshness_judge(const struct freshness_policy *policy, const struct cache_directives *directives,
			       const struct freshness_entry *entry, uint64_t now_ms, double chance, bool *on_error);

/* A lifetime for a new entry; 0: no end. */
uint64_t freshness_lifetime_ms(const struct freshness_policy *policy, double chance);

/*
 * Is the entry dated so far ahead that its maker's clock or ours must be wrong? Its age is then unknown, and it is too
 * old wherever age matters; an age of 0 would extend its lifetime. That a store still has the entry proves nothing,
 * since the store may go by the same wrong clock.
 */
bool freshness_is_ahead(const struct freshness_entry *entry, uint64_t now_ms);

bool freshness_is_fresh(const struct freshness_entry *entry, uint64_t now_ms);

/*
 * Returns the rest, in ms, of a span that began when the entry was created: at least 1, or 0 if `span_ms` is 0 (no
 * end).
 */
uint64_t freshness_left_ms(const struct freshness_entry *entry, uint64_t span_ms, uint64_t now_ms);

/* How long, in ms, a store must keep an entry of this lifetime; 0: no end. */
uint64_t freshness_keep_ms(const struct freshness_policy *policy, uint64_t lifetime_ms);

#endif
