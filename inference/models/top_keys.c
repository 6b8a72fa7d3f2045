#include "inference/models/top_keys.h"

static size_t
least_of(const struct top_keys *keys)
{
	size_t least = 0;

	for (size_t i = 1; i < TOP_KEYS; i++) {
		if (keys->at[i].weight < keys->at[least].weight) {
			least = i;
		}
	}
	return least;
}

/* The key's counter, which may have been another's. */
static struct top_key *
counter_of(struct top_keys *keys, uint64_t key)
{
	size_t index;

	for (size_t i = 0; i < keys->count; i++) {
		if (keys->keys[i] == key) {
			return &keys->at[i];
		}
	}
	index = keys->count < TOP_KEYS ? keys->count++ : least_of(keys);
	keys->keys[index] = key;
	keys->at[index].us = 0;
	keys->at[index].count = 0;
	return &keys->at[index];
}

static void
add(struct top_keys *keys, uint64_t key, uint64_t us, uint64_t count, uint64_t bytes)
{
	struct top_key *counter = counter_of(keys, key);

	counter->weight += us;
	counter->us += us;
	counter->count += count;
	counter->bytes = bytes;
}

void
top_keys_add(struct top_keys *keys, uint64_t key, uint64_t us, uint64_t count, uint64_t bytes)
{
	add(keys, key, us * count, count, bytes);
}

void
top_keys_merge(struct top_keys *to, const struct top_keys *from)
{
	for (size_t i = 0; i < from->count; i++) {
		if (from->at[i].count > 0) {
			add(to, from->keys[i], from->at[i].us, from->at[i].count, from->at[i].bytes);
		}
	}
}

static void
swap(struct top_keys *keys, size_t a, size_t b)
{
	uint64_t key = keys->keys[a];
	struct top_key counter = keys->at[a];

	keys->keys[a] = keys->keys[b];
	keys->at[a] = keys->at[b];
	keys->keys[b] = key;
	keys->at[b] = counter;
}

/* By insertion, as there are few. */
void
top_keys_sort(struct top_keys *keys)
{
	for (size_t i = 1; i < keys->count; i++) {
		for (size_t k = i; k > 0 && keys->at[k].us > keys->at[k - 1].us; k--) {
			swap(keys, k, k - 1);
		}
	}
}
