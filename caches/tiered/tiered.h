/*
 * Two stores as one: `front`, a synchronous store in this process, before `behind`, a shared store.
 *
 * cache_ops.peek asks the front, cache_ops.lookup the store behind. New entries are stored behind. An entry is
 * promoted, that is copied to the front, when its key is seen for the second time within a window (window.h; a key is
 * seen when its entry is stored here or found behind), so that keys that are asked for only once displace nothing in
 * front. An entry found behind is promoted only after the caller has confirmed it (cache_ops.confirm), and for as long
 * as it stays fresh. An entry in front is replaced by each newer one.
 *
 * A purge empties both stores, and purges by other servers are repeated in front. An entry that was read before or
 * during a purge is never promoted after it: purges are counted, and a promotion counts only if there was none since
 * its look-up began.
 */
#ifndef HIPPOCAMP_CACHES_TIERED_TIERED_H
#define HIPPOCAMP_CACHES_TIERED_TIERED_H

#include "caches/cache.h"

/*
 * Returns the table of this store, `tiered`. Its options are those of both stores, named FRONT.KEY and BEHIND.KEY, and
 * a few of its own. A process has one such table, for one pair of stores: later calls return it. The first call comes
 * before other threads use it. NULL where there is no memory.
 */
const struct cache_ops *cache_tiered_ops(const struct cache_ops *front, const struct cache_ops *behind);

#endif
