#include "inference/fetch/flight.h"

void
flight_table_init(struct flight_table *table)
{
	for (size_t i = 0; i < FLIGHT_SHARDS; i++) {
		(void)pthread_mutex_init(&table->shards[i].mutex, NULL);
		atomic_init(&table->shards[i].completions, 0);
		for (size_t k = 0; k < FLIGHT_CHAINS; k++) {
			LIST_INIT(&table->shards[i].chains[k]);
		}
	}
}

void
flight_table_fini(struct flight_table *table)
{
	for (size_t i = 0; i < FLIGHT_SHARDS; i++) {
		(void)pthread_mutex_destroy(&table->shards[i].mutex);
	}
}

static size_t
shard_index(const struct digest_value *digest)
{
	return digest->bytes[0] % FLIGHT_SHARDS;
}

uint32_t
flight_completions(const struct flight_table *table, const struct digest_value *digest)
{
	return atomic_load_explicit(&table->shards[shard_index(digest)].completions, memory_order_acquire);
}

struct flight_shard *
flight_shard_lock(struct flight_table *table, const struct digest_value *digest)
{
	struct flight_shard *shard;

	if (table == NULL) {
		return NULL;
	}
	shard = &table->shards[shard_index(digest)];
	(void)pthread_mutex_lock(&shard->mutex);
	return shard;
}

void
flight_shard_unlock(struct flight_shard *shard)
{
	if (shard != NULL) {
		(void)pthread_mutex_unlock(&shard->mutex);
	}
}

static struct flight_chain *
chain_of(struct flight_shard *shard, const struct digest_value *digest)
{
	return &shard->chains[(digest->bytes[1] | digest->bytes[2] << 8) % FLIGHT_CHAINS];
}

struct flight *
flight_find(struct flight_shard *shard, const struct digest_value *digest, const struct queue_class *queue_class)
{
	struct flight *flight;

	LIST_FOREACH (flight, chain_of(shard, digest), chain) {
		if (queue_class_equal(&flight->queue_class, queue_class) &&
		    memcmp(&flight->digest, digest, sizeof(*digest)) == 0) {
			return flight;
		}
	}
	return NULL;
}

void
flight_enter(struct flight_shard *shard, struct flight *flight)
{
	LIST_INSERT_HEAD(chain_of(shard, &flight->digest), flight, chain);
	flight->in_table = true;
}

void
flight_leave(struct flight_shard *shard, struct flight *flight)
{
	if (flight->in_table) {
		LIST_REMOVE(flight, chain);
		flight->in_table = false;
		(void)atomic_fetch_add_explicit(&shard->completions, 1, memory_order_release);
	}
}
