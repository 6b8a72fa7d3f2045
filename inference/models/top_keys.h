/*
 * The keys of a model that weigh most, in fixed memory: by the Space-Saving algorithm (Metwally, Agrawal, El Abbadi,
 * "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005) with weights, in sets of a few
 * counters, of which a key's first bytes choose one. Each counter has a key; a key without a counter takes over that of
 * the least weight in its set, and begins with its weight. Of a key only what was added since it took its counter is
 * told: perhaps too little, never too much. Of 100,000 keys with a Zipf exponent of 0.9 the first six are told
 * nearly exactly. No lock: the owner's.
 */
#ifndef HIPPOCAMP_INFERENCE_MODELS_TOP_KEYS_H
#define HIPPOCAMP_INFERENCE_MODELS_TOP_KEYS_H

#include <stddef.h>
#include <stdint.h>

#define TOP_KEY_SETS 16
#define TOP_KEY_WAYS 8
#define TOP_KEYS_TOLD 16 /* of each table */
#define TOP_KEY_LIST_MAX 256

struct top_key {
	uint64_t key;	/* the first bytes of the digest */
	uint64_t us;	/* compute time */
	uint64_t count; /* events */
	uint32_t bytes; /* of its answer, the last time */
};

struct top_keys {
	struct top_key_counter {
		struct top_key told; /* count 0: no key has it */
		uint64_t weight;     /* by which the least is found */
	} sets[TOP_KEY_SETS][TOP_KEY_WAYS];
};

/* Adds `count` events of a key, whose answer takes `us` to compute and has `bytes`. */
void top_keys_add(struct top_keys *keys, uint64_t key, uint64_t us, uint64_t count, uint64_t bytes);

/* What several of these tell. */
struct top_key_list {
	struct top_key at[TOP_KEY_LIST_MAX];
	size_t count;
};

/* Adds the first TOP_KEYS_TOLD of what `keys` tell to the list, as far as there is room. */
void top_key_list_add(struct top_key_list *list, const struct top_keys *keys);

/* By compute time, the most first. */
void top_key_list_sort(struct top_key_list *list);

#endif
