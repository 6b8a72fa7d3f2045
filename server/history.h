/*
 * The last ten minutes, second by second, for the live page: how requests were answered, how long that took, and what
 * the cache held. In fixed memory. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_HISTORY_H
#define HIPPOCAMP_SERVER_HISTORY_H

#include "base/buf.h"
#include "caches/cache.h"
#include "inference/models/model_table.h"

#define HISTORY_SECONDS 600

struct history;

struct history *history_new(void);
void history_free(struct history *history); /* NULL: none */

/* Takes a sample, once a second, always on the same thread. `cache` NULL: there is none. `now_ms` is the wall clock's.
 */
void history_sample(struct history *history, const struct model_table *table, const struct cache_statistics *cache,
		    uint64_t now_ms);

/*
 * Appends members of a JSON object: "fields": [names], "samples": [[values], ...], the oldest first. All but the
 * state of the cache are of the second before `time_ms`. Those up to `since_ms` are left out. Any thread.
 */
void history_write(struct history *history, uint64_t since_ms, struct buf *json);

#endif
