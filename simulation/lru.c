#include "simulation/lru.h"

#include "base/memory.h"

#include <stdlib.h>
#include <sys/queue.h>

#define TABLE_FIRST ((size_t)1024)

struct lru_entry {
	uint64_t key;
	uint64_t charge;
	uint64_t expires_ms;
	struct lru_entry *next; /* in its chain */
	TAILQ_ENTRY(lru_entry) order;
};

struct lru {
	uint64_t size;
	uint64_t used;
	uint64_t evictions;
	size_t count;
	struct lru_entry **table;
	size_t table_size;			    /* a power of two */
	TAILQ_HEAD(lru_entries, lru_entry) entries; /* the one used last first */
};

struct lru *
lru_new(uint64_t size)
{
	struct lru *lru = memory_new(sizeof(*lru));

	lru->size = size;
	lru->table_size = TABLE_FIRST;
	lru->table = memory_array(lru->table_size, sizeof(struct lru_entry *));
	TAILQ_INIT(&lru->entries);
	return lru;
}

void
lru_free(struct lru *lru)
{
	struct lru_entry *entry;

	if (lru == NULL) {
		return;
	}
	while ((entry = TAILQ_FIRST(&lru->entries)) != NULL) {
		TAILQ_REMOVE(&lru->entries, entry, order);
		free(entry);
	}
	free(lru->table);
	free(lru);
}

/* Keys are hashes already. */
static struct lru_entry **
find(const struct lru *lru, uint64_t key)
{
	struct lru_entry **place = &lru->table[key & (lru->table_size - 1)];

	while (*place != NULL && (*place)->key != key) {
		place = &(*place)->next;
	}
	return place;
}

static void
drop(struct lru *lru, struct lru_entry **place)
{
	struct lru_entry *entry = *place;

	*place = entry->next;
	TAILQ_REMOVE(&lru->entries, entry, order);
	lru->used -= entry->charge;
	lru->count--;
	free(entry);
}

bool
lru_get(struct lru *lru, uint64_t key, uint64_t now_ms)
{
	struct lru_entry **place = find(lru, key);
	struct lru_entry *entry = *place;

	if (entry != NULL && entry->expires_ms != 0 && now_ms >= entry->expires_ms) {
		drop(lru, place);
		entry = NULL;
	}
	if (entry != NULL) {
		TAILQ_REMOVE(&lru->entries, entry, order);
		TAILQ_INSERT_HEAD(&lru->entries, entry, order);
	}
	return entry != NULL;
}

static void
grow(struct lru *lru)
{
	struct lru_entry *entry;

	free(lru->table);
	lru->table_size *= 2;
	lru->table = memory_array(lru->table_size, sizeof(struct lru_entry *));
	TAILQ_FOREACH (entry, &lru->entries, order) {
		struct lru_entry **place = &lru->table[entry->key & (lru->table_size - 1)];

		entry->next = *place;
		*place = entry;
	}
}

void
lru_put(struct lru *lru, uint64_t key, uint64_t charge, uint64_t expires_ms)
{
	struct lru_entry *entry;

	if (charge > lru->size) {
		return;
	}
	while (lru->used + charge > lru->size) {
		drop(lru, find(lru, TAILQ_LAST(&lru->entries, lru_entries)->key));
		lru->evictions++;
	}
	entry = memory_new(sizeof(*entry));
	*entry = (struct lru_entry){.key = key, .charge = charge, .expires_ms = expires_ms};
	*find(lru, key) = entry;
	TAILQ_INSERT_HEAD(&lru->entries, entry, order);
	lru->used += charge;
	lru->count++;
	if (lru->count > lru->table_size) {
		grow(lru);
	}
}

uint64_t
lru_evictions(const struct lru *lru)
{
	return lru->evictions;
}

uint64_t
lru_used(const struct lru *lru)
{
	return lru->used;
}

size_t
lru_count(const struct lru *lru)
{
	return lru->count;
}
