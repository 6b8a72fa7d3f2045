/*
 * Equal servers behind, and the choice of one for a call: the one with the fewest calls outstanding, over all loops. A
 * replica that failed REPLICA_FAILURES times in succession to take a call gets none for a while, except one that finds
 * out whether it is back, and unless all others have failed, too. Any thread.
 */
#ifndef HIPPOCAMP_UPSTREAM_REPLICA_H
#define HIPPOCAMP_UPSTREAM_REPLICA_H

#include "base/metric.h"
#include "upstream/dial.h"

#include <stdatomic.h>
#include <stddef.h>

#define REPLICAS_MAX 64
#define REPLICA_FAILURES 3

struct upstream_options;

struct replica {
	struct upstream_url url;
	struct dial_options dial; /* of `url` */

	/* Private. */
	atomic_size_t outstanding;
	counter begun;
	counter failed;
	counter hedged;
	atomic_bool is_read;	   /* see replica_note_read */
	atomic_uint failures;	   /* in succession */
	_Atomic uint64_t retry_ns; /* when the next call may find out whether it is back */
	_Atomic uint64_t look_ns;  /* see replica_is_due */
};

struct replica_set {
	struct replica *replicas;
	size_t count;
	struct tls_client *tls; /* NULL: no replica needs it */
};

/* Fails with a text that names the option. Call replica_set_fini in either case. */
enum status replica_set_open(struct replica_set *set, const struct upstream_options *options, struct error *error);
void replica_set_fini(struct replica_set *set);

/*
 * Returns the replica for a call, or -1. `tried` has a bit for each one that has had it. `turn` is the caller's, zero
 * at first: where the search begins, so that equal replicas alternate.
 */
ptrdiff_t replica_choose(struct replica_set *set, uint64_t tried, size_t *turn);

/* The same, but of those that are down only one whose time has come to find out whether it is back. */
ptrdiff_t replica_choose_good(struct replica_set *set, uint64_t tried, size_t *turn);

/* A call goes to the replica, for the first time or beside another one; and has left it. */
void replica_begin(struct replica *replica, bool hedges);
void replica_end(struct replica *replica, bool failed);

/* It began to answer, or failed to take a call. Both are logged where they change its state. */
void replica_note_success(struct replica *replica);
void replica_note_failure(struct replica *replica, const char *why);

/* Has the last call failed that it was to take? */
bool replica_has_failed(const struct replica *replica);

/* Has nobody looked for a second whether it answers? Then the caller is to look. */
bool replica_is_due(struct replica *replica);

/* Could what the replica tells of its models be read? For the metrics. */
void replica_note_read(struct replica *replica, bool is_read);

/* Reports what has become of the calls, of all sets together. */
void replica_metrics(struct replica_set *const *sets, size_t count, const struct metric_sink *sink);

#endif
