#include "inference/models/top_keys.h"

#include <stdlib.h>

/* The key's counter, which may have been another's. */
static struct top_key_counter *
counter_of(struct top_keys *keys, uint64_t key)
{
	struct top_key_counter *set = keys->sets[key % TOP_KEY_SETS];
	struct top_key_counter *least = &set[0];

	for (size_t i = 0; i < TOP_KEY_WAYS; i++) {
		if (set[i].told.count == 0) { /* they are taken in their order */
			least = &set[i];
			break;
		}
		if (set[i].told.key == key) {
			return &set[i];
		}
		if (set[i].weight < least->weight) {
			least = &set[i];
		}
	}
	least->told = (struct top_key){.key = key};
	return least;
}

void
top_keys_add(struct top_keys *keys, uint64_t key, uint64_t us, uint64_t count, uint64_t bytes)
{
	struct top_key_counter *counter = counter_of(keys, key);

	counter->weight += us * count;
	counter->told.us += us * count;
	counter->told.count += count;
	counter->told.bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

/* --- Lists --- */

static int
by_time(const void *a, const void *b)
{
	const struct top_key *left = a;
	const struct top_key *right = b;

	return (left->us < right->us) - (left->us > right->us);
}

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
	struct top_key told[TOP_KEY_SETS * TOP_KEY_WAYS];
	size_t count = 0;

	for (size_t i = 0; i < TOP_KEY_SETS * TOP_KEY_WAYS; i++) {
		const struct top_key *key = &keys->sets[i / TOP_KEY_WAYS][i % TOP_KEY_WAYS].told;

		if (key->count > 0) {
			told[count++] = *key;
		}
	}
	qsort(told, count, sizeof(*told), by_time);
	for (size_t i = 0; i < count && i < TOP_KEYS_TOLD; i++) {
		struct top_key *entry = entry_of(list, told[i].key);

		if (entry != NULL) {
			entry->us += told[i].us;
			entry->count += told[i].count;
			entry->bytes = told[i].bytes;
		}
	}
}

void
top_key_list_sort(struct top_key_list *list)
{
	qsort(list->at, list->count, sizeof(*list->at), by_time);
}
