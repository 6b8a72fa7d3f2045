/*
 * What one replica of the server behind has told about its models, and what that says about their lives. Used by the
 * follower alone.
 *
 * A model that was loaded again may give other answers under the same name and version. Servers do not say so, but it
 * shows: a version disappears from the repository index or is not ready; one of its counters (Triton's statistics) is
 * lower than it was; it has counted fewer requests than it has answered to us; or its counters were not there before.
 */
#ifndef HIPPOCAMP_FRONT_REPLICA_VIEW_H
#define HIPPOCAMP_FRONT_REPLICA_VIEW_H

#include "base/status.h"
#include "upstream/ledger.h"
#include "wire/upstream_body.h"

struct version_view {
	char *name;
	int64_t version;
	char *word; /* its version where that is no number; else NULL */
	uint64_t counters[UPSTREAM_COUNTERS_MAX];
	size_t counter_count;  /* 0: the server has no statistics of it */
	uint64_t answers;      /* requests that the replica has answered, when the view was asked for (ledger.h) */
	uint64_t base_answers; /* what both were at the beginning of the generation */
	uint64_t base_success;
};

/* The versions that are ready, by name and number. One that is no number is there only if it is its model's only one.
 */
struct replica_view {
	struct version_view *versions;
	size_t count;
};

/* Makes a view of an index and statistics, both JSON; empty statistics: the server has none. */
enum status replica_view_read(struct replica_view *view, struct bytes index, struct bytes statistics,
			      struct error *error);
void replica_view_fini(struct replica_view *view);

/* Sets `answers` of all versions of a replica's view. */
void replica_view_count_answers(struct replica_view *view, struct ledger *ledger, size_t replica);

/* A generation begins: what happened before says nothing any more. */
void replica_view_begin(struct replica_view *view, struct ledger *ledger, size_t replica);

/* Have all versions of a model counters? */
bool replica_view_has_counters(const struct replica_view *view, const char *name);

/* Do all versions have counters above zero, which a restart would set back? */
bool replica_view_has_evidence(const struct replica_view *view);

/*
 * Returns why, to judge by two views of a replica, one of its models was loaded meanwhile, for the first time or again;
 * NULL: nothing shows that. Statistics may lag behind answers, so those since `before` do not count yet. Carries what
 * `now` needs for the next comparison. `may_grow`: a model that is new says nothing about the others.
 */
const char *replica_view_compare(const struct replica_view *before, struct replica_view *now, bool may_grow);

/* Drops the models of which `keeps` says no. */
void replica_view_keep(struct replica_view *view, bool (*keeps)(void *context, const char *name), void *context);

#endif
