/*
 * A few bytes that all servers that share a store can read and write, beside its entries: authenticated by the
 * deployment's secret, under a key that has a name. Waits for the store by turning its loop, as the follower does. On
 * one thread at a time.
 */
#ifndef HIPPOCAMP_FRONT_SHARED_RECORD_H
#define HIPPOCAMP_FRONT_SHARED_RECORD_H

#include "inference/cache/response_cache.h"
#include "loop/loop.h"

#include <stdatomic.h>

struct shared_record;

/* `cache`, `loop` and `stopping` outlive it; where `stopping` is true, nothing is waited for. */
struct shared_record *shared_record_new(struct response_cache *cache, struct loop *loop, struct bytes name,
					const atomic_bool *stopping);
void shared_record_free(struct shared_record *record); /* NULL: none */

enum shared_read {
	SHARED_FOUND,
	SHARED_NONE,
	SHARED_UNKNOWN, /* the store was not reached, or its secret is not known */
};

/* Reads it into `length` bytes. One of another length, or not of our secret, is none. */
enum shared_read shared_record_read(struct shared_record *record, void *at, size_t length);

/* Writes it, for `ttl_ms`. False: the store has not confirmed it. */
bool shared_record_write(struct shared_record *record, struct bytes bytes, uint64_t ttl_ms);

#endif
