/*
 * Two stores as one: `front`, immediate and in this process, before `behind`, which is shared.
 *
 * What is in front is told at once (cache_ops.peek); the rest is looked up behind. New entries go behind. An entry
 * comes to the front when its key is seen for the second time within a window (window.h; a key is seen when its entry
 * is stored here or found behind), so that a scan of questions that are asked once leaves the front alone. What comes
 * from behind is promoted only when the caller says that it is good (cache_ops.confirm), and for as long as it stays
 * fresh; what is in front already is replaced by each newer entry.
 *
 * A purge empties both, and what others purge behind is purged in front. An entry that was read before or during a
 * purge is never promoted after it: purges are counted, and a promotion counts only if there was none since its look-up
 * began.
 */
#ifndef HIPPOCAMP_CACHES_TIERED_TIERED_H
#define HIPPOCAMP_CACHES_TIERED_TIERED_H

#include "caches/cache.h"

/*
 * The table of such a store, `tiered`. Its options are those of both, named FRONT.KEY and BEHIND.KEY, and a few of its
 * own. To be called once in a process, before there are threads. NULL where there is no memory.
 */
const struct cache_ops *cache_tiered_ops(const struct cache_ops *front, const struct cache_ops *behind);

#endif
