#include "caches/local/shard.h"

#include "base/block_pool.h"
#include "base/container_of.h"

#include <stdlib.h>

#define TABLE_SIZE_FIRST ((size_t)256)
#define ALLOCATOR_OVERHEAD 16
#define COUNT_MAX 32   /* bounds how long an entry stays that was popular and is asked for no more */
#define RERANKS_MAX 64 /* per eviction, while other threads wait for the lock */

/* What the first request counts: most of what is asked for once is never asked for again. */
#define FIRST_REQUEST 0.25

struct shard_node {
	struct shard_node *chain;
	struct rank_node ranked;
	struct rank_node expiring; /* if it expires */
	struct digest_value digest;
	uint32_t count;	       /* how often it was asked for, the insert included */
	uint32_t ranked_count; /* … when its rank was computed */
	struct shard_entry entry;
	struct blob *value;
};

/* Two blocks of malloc's: the value with what its alignment takes, and the node. Of each table one to two slots. */
uint64_t
shard_charge(size_t length)
{
	uint64_t block = block_room(length + sizeof(struct blob) + BLOB_ALIGNMENT);
	uint64_t slots = sizeof(struct shard_node *) + sizeof(struct shard_ghost) + 2 * sizeof(struct rank_slot);

	return block + sizeof(struct shard_node) + 3 * slots / 2 + 2 * ALLOCATOR_OVERHEAD;
}

/* By bisection: large blocks are rounded up, so that the charge grows in steps. */
static size_t
find_value_max(uint64_t budget)
{
	uint64_t fits = 0;
	uint64_t exceeds = budget + 1;

	while (exceeds - fits > 1) {
		uint64_t middle = fits + (exceeds - fits) / 2;

		if (shard_charge((size_t)middle) <= budget) {
			fits = middle;
		} else {
			exceeds = middle;
		}
	}
	return (size_t)fits;
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

	*shard = (struct shard){.budget = budget, .value_max = find_value_max(budget), .table_size = TABLE_SIZE_FIRST};
	/* It is held for so short that who waits a moment hardly ever has to sleep, which costs more. */
	(void)pthread_mutexattr_init(&adaptive);
	(void)pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
	(void)pthread_mutex_init(&shard->mutex, &adaptive);
	(void)pthread_mutexattr_destroy(&adaptive);
	shard->table = calloc(shard->table_size, sizeof(*shard->table));
	shard->ghosts = calloc(shard->table_size, sizeof(*shard->ghosts));
	return rank_heap_reserve(&shard->ranks, shard->table_size) &&
	       rank_heap_reserve(&shard->expiries, shard->table_size) && shard->table != NULL && shard->ghosts != NULL;
}

static void
free_node(struct shard_node *node)
{
	if (node != NULL) {
		blob_unref(node->value);
		free(node);
	}
}

static struct shard_node *
node_of(struct rank_node *ranked)
{
	return container_of(ranked, struct shard_node, ranked);
}

void
shard_fini(struct shard *shard)
{
	for (size_t i = 0; i < shard->ranks.count; i++) {
		free_node(node_of(shard->ranks.slots[i].node));
	}
	rank_heap_fini(&shard->ranks);
	rank_heap_fini(&shard->expiries);
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

/* Takes the node out of the tables; the caller frees it, outside of the lock where it can. */
static struct shard_node *
take_out(struct shard *shard, struct shard_node **link)
{
	struct shard_node *node = *link;

	*link = node->chain;
	rank_heap_remove(&shard->ranks, &node->ranked);
	if (node->entry.expires_ns != 0) {
		rank_heap_remove(&shard->expiries, &node->expiring);
	}
	shard->used_bytes -= shard_charge(node->value->length);
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
ghost_remember(struct shard *shard, const struct shard_node *node)
{
	uint32_t mark;
	struct shard_ghost *ghost = ghost_slot(shard, &node->digest, &mark);

	*ghost = (struct shard_ghost){.mark = mark, .departed = shard->departures++, .count = node->count};
}

/* How often it had been asked for when it left. As many departures are remembered as there are entries. */
static uint32_t
ghost_recall(struct shard *shard, const struct digest_value *digest)
{
	uint32_t mark;
	const struct shard_ghost *ghost = ghost_slot(shard, digest, &mark);

	return ghost->mark == mark && shard->departures - ghost->departed <= shard->entries ? ghost->count : 0;
}

/* --- Eviction --- */

static void
count_request(struct shard_node *node)
{
	node->count += node->count < COUNT_MAX;
}

static double
rank_of(const struct shard *shard, const struct shard_node *node)
{
	double cost = node->entry.cost_us == 0 ? 1.0 : (double)node->entry.cost_us;
	double count = FIRST_REQUEST + (node->count - 1);

	return shard->inflation + count * cost / (double)shard_charge(node->value->length);
}

static bool
is_expired(const struct shard_node *node, uint64_t now_ns)
{
	return node->entry.expires_ns != 0 && node->entry.expires_ns <= now_ns;
}

/* An entry that has expired, or NULL where there is none. */
static struct shard_node *
find_expired(const struct shard *shard, uint64_t now_ns)
{
	const struct rank_slot *first = rank_heap_least(&shard->expiries);
	struct shard_node *node = first == NULL ? NULL : container_of(first->node, struct shard_node, expiring);

	return node != NULL && is_expired(node, now_ns) ? node : NULL;
}

/* The entry of least value. While that was asked for since it was ranked, it is ranked anew: another may be the least.
 */
static struct shard_node *
find_least(struct shard *shard)
{
	const struct rank_slot *least = rank_heap_least(&shard->ranks);
	struct shard_node *node = node_of(least->node);

	for (unsigned i = 0; i < RERANKS_MAX && node->count != node->ranked_count; i++) {
		node->ranked_count = node->count;
		rank_heap_change(&shard->ranks, &node->ranked, rank_of(shard, node));
		least = rank_heap_least(&shard->ranks);
		node = node_of(least->node);
	}
	shard->inflation = least->rank;
	return node;
}

static void
evict(struct shard *shard, uint64_t now_ns)
{
	struct shard_node *node = find_expired(shard, now_ns);

	if (node == NULL) {
		node = find_least(shard);
		ghost_remember(shard, node);
	}
	shard->evictions++;
	free_node(take_out(shard, find(shard, &node->digest)));
}

/* --- Growth: the tables double when there are as many entries as chains. --- */

/* Returns false when memory runs out; the tables then stay as they are. */
static bool
grow(struct shard *shard)
{
	size_t size = shard->table_size * 2;
	struct shard_node **table = calloc(size, sizeof(*table));
	struct shard_ghost *ghosts = calloc(size, sizeof(*ghosts)); /* starts empty: ghosts are hints */

	if (table == NULL || ghosts == NULL || !rank_heap_reserve(&shard->ranks, size) ||
	    !rank_heap_reserve(&shard->expiries, size)) {
		free(table);
		free(ghosts);
		return false;
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
	return true;
}

static void
make_room(struct shard *shard, uint64_t charge, uint64_t now_ns)
{
	while (shard->entries > 0 && shard->used_bytes + charge > shard->budget) {
		evict(shard, now_ns);
	}
	if (shard->entries >= shard->table_size && !grow(shard)) {
		evict(shard, now_ns);
	}
}

/* --- The interface --- */

struct blob *
shard_get(struct shard *shard, const struct digest_value *digest, uint64_t now_ns, enum cache_count counted)
{
	struct shard_node *expired = NULL;
	struct blob *value = NULL;
	struct shard_node **link;

	(void)pthread_mutex_lock(&shard->mutex);
	link = find(shard, digest);
	shard->lookups += counted == CACHE_COUNT_ALL;
	if (*link != NULL && is_expired(*link, now_ns)) {
		expired = take_out(shard, link);
	} else if (*link != NULL) {
		value = blob_ref((*link)->value);
		if (counted != CACHE_COUNT_NOTHING) {
			count_request(*link);
			shard->hits++;
		}
	}
	(void)pthread_mutex_unlock(&shard->mutex);
	free_node(expired);
	return value;
}

static void
insert(struct shard *shard, struct shard_node *node, uint64_t now_ns)
{
	uint64_t charge = shard_charge(node->value->length);
	struct shard_node **link;

	make_room(shard, charge, now_ns);
	link = &shard->table[hash_of(&node->digest) & (shard->table_size - 1)];
	node->chain = *link;
	*link = node;
	node->ranked_count = node->count;
	rank_heap_insert(&shard->ranks, &node->ranked, rank_of(shard, node));
	if (node->entry.expires_ns != 0) {
		rank_heap_insert(&shard->expiries, &node->expiring, (double)node->entry.expires_ns);
	}
	shard->used_bytes += charge;
	shard->entries++;
	shard->inserts++;
}

/* Is an insert in this mode without effect where `node` is there already? */
static bool
stays(const struct shard_node *node, enum cache_insert_mode mode, uint64_t now_ns)
{
	return (mode == CACHE_REPLACE && node == NULL) ||
	       (mode == CACHE_KEEP && node != NULL && !is_expired(node, now_ns));
}

void
shard_put(struct shard *shard, const struct digest_value *digest, const struct shard_entry *entry, struct blob *value,
	  enum cache_insert_mode mode, uint64_t now_ns)
{
	struct shard_node *node = calloc(1, sizeof(*node));
	struct shard_node *old = NULL;
	struct shard_node **link;

	(void)pthread_mutex_lock(&shard->mutex);
	link = find(shard, digest);
	if (!stays(*link, mode, now_ns)) {
		old = *link == NULL ? NULL : take_out(shard, link); /* in any case: it would hide the newer one */
		if (node != NULL && shard_charge(value->length) <= shard->budget) {
			*node = (struct shard_node){.digest = *digest, .entry = *entry, .value = blob_ref(value)};
			if (old != NULL) {
				node->count = old->count;
			} else {
				node->count = ghost_recall(shard, digest);
				count_request(node);
			}
			insert(shard, node, now_ns);
			node = NULL;
		} else {
			shard->dropped++;
		}
	}
	(void)pthread_mutex_unlock(&shard->mutex);
	free_node(old);
	free_node(node);
}

void
shard_remove(struct shard *shard, const struct digest_value *digest)
{
	struct shard_node *removed;
	struct shard_node **link;

	(void)pthread_mutex_lock(&shard->mutex);
	link = find(shard, digest);
	removed = *link == NULL ? NULL : take_out(shard, link);
	(void)pthread_mutex_unlock(&shard->mutex);
	free_node(removed);
}

static bool
covers(struct shard_scope scope, struct shard_scope entry)
{
	return (scope.model == 0 || scope.model == entry.model) &&
	       (scope.version == 0 || scope.version == entry.version);
}

uint64_t
shard_purge(struct shard *shard, struct shard_scope scope, struct shard_node **removed)
{
	struct shard_node *node;
	uint64_t count = 0;

	(void)pthread_mutex_lock(&shard->mutex);
	for (size_t i = 0; i < shard->table_size; i++) {
		struct shard_node **link = &shard->table[i];

		while (*link != NULL) {
			if (!covers(scope, (*link)->entry.scope)) {
				link = &(*link)->chain;
				continue;
			}
			node = take_out(shard, link);
			node->chain = *removed;
			*removed = node;
			count++;
		}
	}
	(void)pthread_mutex_unlock(&shard->mutex);
	return count;
}

void
shard_free_removed(struct shard_node *removed)
{
	struct shard_node *node;

	while ((node = removed) != NULL) {
		removed = node->chain;
		free_node(node);
	}
}
