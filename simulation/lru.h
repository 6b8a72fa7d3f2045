/*
 * A simulated cache that evicts what was used least recently. It keeps no values, only their sizes. Owned by one
 * thread. Room-private.
 */
#ifndef HIPPOCAMP_SIMULATION_LRU_H
#define HIPPOCAMP_SIMULATION_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lru;

struct lru *lru_new(uint64_t size);
void lru_free(struct lru *lru); /* NULL: none */

/* Is the key there and not expired? Then it is the one used last. */
bool lru_get(struct lru *lru, uint64_t key, uint64_t now_ms);

/* Puts a key that is not there. `expires_ms` 0: never. */
void lru_put(struct lru *lru, uint64_t key, uint64_t charge, uint64_t expires_ms);

uint64_t lru_evictions(const struct lru *lru);
uint64_t lru_used(const struct lru *lru);
size_t lru_count(const struct lru *lru);

#endif
