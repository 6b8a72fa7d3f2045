/*
 * The times of purges, kept for the life of the process. What was under way when a purge was made, or heard of, is not
 * stored, and nobody joins it any more. An external store may bring back entries that were purged: Redis restarts from
 * an older dump, or a lagging replica becomes the primary. An entry carries its date, and one from such a store that is
 * older than a purge of its model is not used.
 *
 * The dates come from the servers that made the entries, so clocks that differ move the limit by as much, unless the
 * difference shows: an entry dated ahead counts as purged, and a purge dated ahead, or heard of late, counts as made
 * when it was heard of.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_PURGE_MARKS_H
#define HIPPOCAMP_INFERENCE_CACHE_PURGE_MARKS_H

#include "base/bytes.h"

#include <pthread.h>
#include <stdatomic.h>

/* Further marks turn all marks into one of everything. */
#define PURGE_MARKS_MAX 256

struct purge_mark_entry;

struct purge_marks {
	_Atomic uint64_t version; /* grows with each mark; 0: nothing was ever purged */
	pthread_mutex_t lock;
	struct purge_mark_entry *entries;
	size_t count;
	uint64_t everything_ms; /* 0: never */
	uint64_t everything_ns;
};

/* What a model has seen of the marks. Zero it first. Any thread. */
struct purge_marks_seen {
	_Atomic uint64_t version;
	_Atomic uint64_t purged_ms; /* of the last purge, since 1970 */
	_Atomic uint64_t purged_ns; /* the same, by clock_now_ns() */
};

void purge_marks_init(struct purge_marks *marks);
void purge_marks_fini(struct purge_marks *marks);

/*
 * Marks a purge of a model and version as in struct cache_purge, where "" means all, made at this time: `at_ms` since
 * 1970, `at_ns` by clock_now_ns(). Any thread.
 */
void purge_marks_add(struct purge_marks *marks, struct bytes model, struct bytes version, uint64_t at_ms,
		     uint64_t at_ns);

/* Updates `seen`, for the next two. */
void purge_marks_look(struct purge_marks *marks, struct purge_marks_seen *seen, struct bytes model, int64_t version);

/*
 * Was an entry of the model that was made at `created_ms` (0: unknown) purged since? Takes no lock unless there was a
 * new purge. Any thread.
 */
static inline bool
purge_marks_covers(struct purge_marks *marks, struct purge_marks_seen *seen, struct bytes model, int64_t version,
		   uint64_t created_ms)
{
	uint64_t now = atomic_load_explicit(&marks->version, memory_order_acquire);

	if (now != atomic_load_explicit(&seen->version, memory_order_acquire)) {
		purge_marks_look(marks, seen, model, version);
	}
	return created_ms < atomic_load_explicit(&seen->purged_ms, memory_order_relaxed);
}

/* Was the model purged at `since_ns`, by clock_now_ns(), or later? As purge_marks_covers. */
static inline bool
purge_marks_since(struct purge_marks *marks, struct purge_marks_seen *seen, struct bytes model, int64_t version,
		  uint64_t since_ns)
{
	(void)purge_marks_covers(marks, seen, model, version, 0);
	return since_ns <= atomic_load_explicit(&seen->purged_ns, memory_order_relaxed);
}

#endif
