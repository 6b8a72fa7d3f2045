#include "caches/local/shard.h"

#include "base/clock.h"

#include <stdlib.h>

#define TABLE_SIZE_FIRST ((size_t)256)
#define VISITS_MAX 3
#define SMALL_SHARE 10 /* the small queue gets one tenth */
#define ALLOCATOR_OVERHEAD 16

struct shard_node {
	struct shard_node *chain;
	TAILQ_ENTRY(shard_node) queue;
	struct digest_value digest;
	uint8_t visits;
	bool in_main;
	uint64_t expires_ns;
	struct shard_scope scope;
	struct blob *value;
};

/* Two blocks of malloc's: the value with what its alignment takes, and the node. */
uint64_t
shard_charge(size_t length)
{
	uint64_t block = length + sizeof(struct blob) + BLOB_ALIGNMENT;
	uint64_t chain = 3 * (sizeof(struct shard_node *) + sizeof(struct shard_ghost)) / 2; /* one to two of each */

	return block + sizeof(struct shard_node) + chain + 2 * ALLOCATOR_OVERHEAD;
}

size_t
shard_value_max(const struct shard *shard)
{
	return shard->budget > shard_charge(0) ? (size_t)(shard->budget - shard_charge(0)) : 0;
}

static uint64_t
hash_of(const struct digest_value *digest)
{
	uint64_t hash;

	/* The digest's first bytes choose the shard, so the table uses others. */
	memcpy(&hash, digest->bytes + 8, sizeof(hash));
	return hash;
}

static bool
same(const struct digest_value *a, const struct digest_value *b)
{
	return a->length == b->length && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool
shard_init(struct shard *shard, uint64_t budget)
{
	pthread_mutexattr_t adaptive;

	*shard = (struct shard){.budget = budget, .table_size = TABLE_SIZE_FIRST};
	/* It is held for so short that who waits a moment hardly ever has to sleep, which costs more. */
	(void)pthread_mutexattr_init(&adaptive);
	(void)pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
	(void)pthread_mutex_init(&shard->mutex, &adaptive);
	(void)pthread_mutexattr_destroy(&adaptive);
	TAILQ_INIT(&shard->small);
	TAILQ_INIT(&shard->main);
	shard->table = calloc(shard->table_size, sizeof(*shard->table));
	shard->ghosts = calloc(shard->table_size, sizeof(*shard->ghosts));
	return shard->table != NULL && shard->ghosts != NULL;
}

static void
free_node(struct shard_node *node)
{
	blob_unref(node->value);
	free(node);
}

static void
free_queue(struct shard_queue *queue)
{
	struct shard_node *node;

	while ((node = TAILQ_FIRST(queue)) != NULL) {
		TAILQ_REMOVE(queue, node, queue);
		free_node(node);
	}
}

void
shard_fini(struct shard *shard)
{
	free_queue(&shard->small);
	free_queue(&shard->main);
	free(shard->table);
	free(shard->ghosts);
	(void)pthread_mutex_destroy(&shard->mutex);
}

static struct shard_node **
find(struct shard *shard, const struct digest_value *digest)
{
	struct shard_node **link = &shard->table[hash_of(digest) & (shard->table_size - 1)];

	while (*link != NULL && !same(&(*link)->digest, digest)) {
		link = &(*link)->chain;
	}
	return link;
}

static void
enqueue(struct shard *shard, struct shard_node *node, bool in_main)
{
	node->in_main = in_main;
	if (in_main) {
		TAILQ_INSERT_TAIL(&shard->main, node, queue);
		shard->main_bytes += shard_charge(node->value->length);
	} else {
		TAILQ_INSERT_TAIL(&shard->small, node, queue);
		shard->small_bytes += shard_charge(node->value->length);
	}
}

static void
dequeue(struct shard *shard, struct shard_node *node)
{
	if (node->in_main) {
		TAILQ_REMOVE(&shard->main, node, queue);
		shard->main_bytes -= shard_charge(node->value->length);
	} else {
		TAILQ_REMOVE(&shard->small, node, queue);
		shard->small_bytes -= shard_charge(node->value->length);
	}
}

/* Takes the node out of table and queue; the caller frees it, outside the lock where it can. */
static struct shard_node *
take_out(struct shard *shard, struct shard_node **link)
{
	struct shard_node *node = *link;

	*link = node->chain;
	dequeue(shard, node);
	shard->entries--;
	return node;
}

/* --- Ghosts: a table where a newer departure may overwrite an older one; good enough for a hint. --- */

static struct shard_ghost *
ghost_slot(struct shard *shard, const struct digest_value *digest, uint32_t *mark)
{
	uint64_t hash = hash_of(digest);

	*mark = (uint32_t)(hash >> 32) | 1U;
	return &shard->ghosts[hash & (shard->table_size - 1)];
}

static void
ghost_remember(struct shard *shard, const struct digest_value *digest)
{
	uint32_t mark;
	struct shard_ghost *ghost = ghost_slot(shard, digest, &mark);

	ghost->mark = mark;
	ghost->departed = shard->departures++;
}

/* As many departures are remembered as there are entries. */
static bool
ghost_recalls(struct shard *shard, const struct digest_value *digest)
{
	uint32_t mark;
	const struct shard_ghost *ghost = ghost_slot(shard, digest, &mark);

	return ghost->mark == mark && shard->departures - ghost->departed <= shard->entries;
}

/* --- Eviction --- */

static void
evict(struct shard *shard, struct shard_node *node)
{
	shard->evictions++;
	free_node(take_out(shard, find(shard, &node->digest)));
}

static void
evict_from_small(struct shard *shard)
{
	struct shard_node *node;

	while ((node = TAILQ_FIRST(&shard->small)) != NULL) {
		if (node->visits == 0) {
			ghost_remember(shard, &node->digest);
			evict(shard, node);
			return;
		}
		dequeue(shard, node);
		node->visits = 0;
		enqueue(shard, node, true);
	}
}

static void
evict_from_main(struct shard *shard)
{
	struct shard_node *node;

	while ((node = TAILQ_FIRST(&shard->main)) != NULL) {
		if (node->visits == 0) {
			evict(shard, node);
			return;
		}
		node->visits--;
		TAILQ_REMOVE(&shard->main, node, queue);
		TAILQ_INSERT_TAIL(&shard->main, node, queue);
	}
}

static void
make_room(struct shard *shard, uint64_t charge)
{
	while (shard->entries > 0 && shard->small_bytes + shard->main_bytes + charge > shard->budget) {
		if (shard->small_bytes > shard->budget / SMALL_SHARE || TAILQ_EMPTY(&shard->main)) {
			evict_from_small(shard);
		} else {
			evict_from_main(shard);
		}
	}
}

/* --- Growth: the table doubles when it holds as many entries as chains. Without memory it stays as it is. --- */

static void
grow(struct shard *shard)
{
	size_t size = shard->table_size * 2;
	struct shard_node **table = calloc(size, sizeof(*table));
	struct shard_ghost *ghosts = calloc(size, sizeof(*ghosts)); /* starts empty: ghosts are hints */

	if (table == NULL || ghosts == NULL) {
		free(table);
		free(ghosts);
		return;
	}
	for (size_t i = 0; i < shard->table_size; i++) {
		struct shard_node *node = shard->table[i];

		while (node != NULL) {
			struct shard_node *next = node->chain;
			size_t at = hash_of(&node->digest) & (size - 1);

			node->chain = table[at];
			table[at] = node;
			node = next;
		}
	}
	free(shard->table);
	free(shard->ghosts);
	shard->table = table;
	shard->ghosts = ghosts;
	shard->table_size = size;
}

/* --- The interface --- */

struct blob *
shard_get(struct shard *shard, const struct digest_value *digest, uint64_t now_ns, bool counted, bool credited)
{
	struct shard_node *expired = NULL;
	struct blob *value = NULL;
	struct shard_node **link;

	(void)pthread_mutex_lock(&shard->mutex);
	link = find(shard, digest);
	shard->lookups += counted;
	if (*link != NULL && (*link)->expires_ns != 0 && (*link)->expires_ns <= now_ns) {
		expired = take_out(shard, link);
	} else if (*link != NULL) {
		value = blob_ref((*link)->value);
		if (credited && (*link)->visits < VISITS_MAX) {
			(*link)->visits++;
		}
		shard->hits += credited;
	}
	(void)pthread_mutex_unlock(&shard->mutex);
	if (expired != NULL) {
		free_node(expired);
	}
	return value;
}

static bool
is_alive(const struct shard_node *node)
{
	return node != NULL && (node->expires_ns == 0 || node->expires_ns > clock_now_ns());
}

void
shard_put(struct shard *shard, const struct digest_value *digest, struct shard_scope scope, struct blob *value,
	  uint64_t expires_ns, enum cache_insert_mode mode)
{
	struct shard_node *node = calloc(1, sizeof(*node));
	struct shard_node *replaced = NULL;
	struct shard_node **link;

	(void)pthread_mutex_lock(&shard->mutex);
	link = find(shard, digest);
	if ((mode == CACHE_REPLACE && *link == NULL) || (mode == CACHE_KEEP && is_alive(*link))) {
		(void)pthread_mutex_unlock(&shard->mutex);
		free(node);
		return;
	}
	if (node == NULL || shard_charge(value->length) > shard->budget) {
		replaced = *link == NULL ? NULL : take_out(shard, link); /* it would hide the newer one */
		shard->dropped++;
		(void)pthread_mutex_unlock(&shard->mutex);
		free(node);
		if (replaced != NULL) {
			free_node(replaced);
		}
		return;
	}
	*node = (struct shard_node){
		.digest = *digest, .expires_ns = expires_ns, .scope = scope, .value = blob_ref(value)};
	if (*link != NULL) {
		node->visits = (*link)->visits;
		node->in_main = (*link)->in_main;
		replaced = take_out(shard, link);
	} else {
		node->in_main = ghost_recalls(shard, digest);
	}
	make_room(shard, shard_charge(value->length));
	if (shard->entries >= shard->table_size) {
		grow(shard);
	}
	link = &shard->table[hash_of(digest) & (shard->table_size - 1)];
	node->chain = *link;
	*link = node;
	enqueue(shard, node, node->in_main);
	shard->entries++;
	shard->inserts++;
	(void)pthread_mutex_unlock(&shard->mutex);
	if (replaced != NULL) {
		free_node(replaced);
	}
}

static bool
covers(struct shard_scope scope, struct shard_scope entry)
{
	return (scope.model == 0 || scope.model == entry.model) &&
	       (scope.version == 0 || scope.version == entry.version);
}

uint64_t
shard_purge(struct shard *shard, struct shard_scope scope)
{
	struct shard_node *removed = NULL;
	struct shard_node *node;
	uint64_t count = 0;

	(void)pthread_mutex_lock(&shard->mutex);
	for (size_t i = 0; i < shard->table_size; i++) {
		struct shard_node **link = &shard->table[i];

		while (*link != NULL) {
			if (!covers(scope, (*link)->scope)) {
				link = &(*link)->chain;
				continue;
			}
			node = take_out(shard, link);
			node->chain = removed;
			removed = node;
			count++;
		}
	}
	(void)pthread_mutex_unlock(&shard->mutex);
	while ((node = removed) != NULL) {
		removed = node->chain;
		free_node(node);
	}
	return count;
}
