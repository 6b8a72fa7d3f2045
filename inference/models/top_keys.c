#include "inference/models/top_keys.h"

#include <stdlib.h>

static size_t
least_of(const struct top_keys *keys)
{
	size_t least = 0;

	for (size_t i = 1; i < TOP_KEYS; i++) {
		if (keys->weights[i] < keys->weights[least]) {
			least = i;
		}
	}
	return least;
}

/* The key's counter, which may have been another's. */
static size_t
counter_of(struct top_keys *keys, uint64_t key)
{
	size_t index;

	for (size_t i = 0; i < keys->count; i++) {
		if (keys->at[i].key == key) {
			return i;
		}
	}
	index = keys->count < TOP_KEYS ? keys->count++ : least_of(keys);
	keys->at[index] = (struct top_key){.key = key};
	return index;
}

void
top_keys_add(struct top_keys *keys, uint64_t key, uint64_t us, uint64_t count, uint64_t bytes)
{
	size_t index = counter_of(keys, key);
	struct top_key *counter = &keys->at[index];

	keys->weights[index] += us * count;
	counter->us += us * count;
	counter->count += count;
	counter->bytes = bytes;
}

/* --- Lists --- */

static struct top_key *
entry_of(struct top_key_list *list, uint64_t key)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->at[i].key == key) {
			return &list->at[i];
		}
	}
	if (list->count == TOP_KEY_LIST_MAX) {
		return NULL;
	}
	list->at[list->count] = (struct top_key){.key = key};
	return &list->at[list->count++];
}

void
top_key_list_add(struct top_key_list *list, const struct top_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		struct top_key *entry = entry_of(list, keys->at[i].key);

		if (entry != NULL) {
			entry->us += keys->at[i].us;
			entry->count += keys->at[i].count;
			entry->bytes = keys->at[i].bytes;
		}
	}
}

static int
by_time(const void *a, const void *b)
{
	const struct top_key *left = a;
	const struct top_key *right = b;

	return (left->us < right->us) - (left->us > right->us);
}

void
top_key_list_sort(struct top_key_list *list)
{
	qsort(list->at, list->count, sizeof(*list->at), by_time);
}
