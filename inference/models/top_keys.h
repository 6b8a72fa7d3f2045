/*
 * The keys of a model that weigh most, in fixed memory: by the Space-Saving algorithm (Metwally, Agrawal, El Abbadi,
 * "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005) with weights. Each counter has a
 * key; a key without a counter takes over that of the least weight, and begins with its weight, of which it may have
 * none. What is told of a key is what was counted since it took its counter, so never too much. No lock: the owner's.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_TOP_KEYS_H
#define HIPPOCAMP_INFERENCE_MODELS_TOP_KEYS_H

#include <stddef.h>
#include <stdint.h>

#define TOP_KEYS 16

struct top_key {
	uint64_t weight; /* by which the least is found */
	uint64_t us;	 /* compute time, since it took its counter; so the next one */
	uint64_t count;
	uint64_t bytes; /* of its answer, the last time */
};

struct top_keys {
	uint64_t keys[TOP_KEYS]; /* the first bytes of the digest */
	struct top_key at[TOP_KEYS];
	size_t count;
};

/* Adds `count` events of a key, whose answer takes `us` to compute and has `bytes`. */
void top_keys_add(struct top_keys *keys, uint64_t key, uint64_t us, uint64_t count, uint64_t bytes);

/* Adds what `from` tells of its keys. */
void top_keys_merge(struct top_keys *to, const struct top_keys *from);

/* Sorts by what is told of the compute time: the most first. Then nothing can be added. */
void top_keys_sort(struct top_keys *keys);

#endif
