/* The store that keeps nothing: every look-up is a miss at once. Copy it to start a store of your own. */
#ifndef HIPPOCAMP_CACHES_NULL_NULL_H
#define HIPPOCAMP_CACHES_NULL_NULL_H

#include "caches/cache.h"

extern const struct cache_ops cache_null_ops;

#endif
