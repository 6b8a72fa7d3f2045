/*
 * When what was purged, for as long as this process lives. A store outside may bring back what it has lost already:
 * Redis starts again from an older dump, or a replica that lagged becomes the primary. An entry carries its date, and
 * one that is not newer than a purge of its model is not used, whoever still has it.
 *
 * Dates are those of the servers that made the entries, so clocks that are apart move the line by as much, as far as
 * that is not seen: an entry dated ahead counts as purged, and a purge that was heard of much later than it was made
 * counts from then on.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_PURGE_MARKS_H
#define HIPPOCAMP_INFERENCE_CACHE_PURGE_MARKS_H

#include "base/bytes.h"

#include <pthread.h>
#include <stdatomic.h>

/* More are put together, into one of everything. */
#define PURGE_MARKS_MAX 256

struct purge_mark_entry;

struct purge_marks {
	_Atomic uint64_t version; /* grows with each mark; 0: nothing was ever purged */
	pthread_mutex_t lock;
	struct purge_mark_entry *entries;
	size_t count;
	uint64_t everything_ms; /* 0: never */
};

/* What a model knows of them. Zeroed at first; any thread. */
struct purge_marks_seen {
	_Atomic uint64_t version;
	_Atomic uint64_t purged_ms;
};

void purge_marks_init(struct purge_marks *marks);
void purge_marks_fini(struct purge_marks *marks);

/* A model and version as in struct cache_purge: "" stands for all. `now_ms` since 1970. Any thread. */
void purge_marks_add(struct purge_marks *marks, struct bytes model, struct bytes version, uint64_t now_ms);

/* For purge_marks_covers. */
void purge_marks_look(struct purge_marks *marks, struct purge_marks_seen *seen, struct bytes model, int64_t version);

/* Was what a model answered at `created_ms` (0: nobody knows when) purged since? Costs two loads but after a purge. Any
 * thread. */
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

#endif
