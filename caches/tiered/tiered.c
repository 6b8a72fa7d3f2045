#include "caches/tiered/tiered.h"

#include "caches/tiered/window.h"

#include <stdio.h>
#include <stdlib.h>

#define INSERT_MARKS 1024

struct tiered_settings {
	int64_t promotion_window;
};

static const struct option own_options[] = {
	{
		.name = "promotion_window",
		.kind = OPTION_INTEGER,
		.offset = offsetof(struct tiered_settings, promotion_window),
		.preset = "65536",
		.minimum = 1,
		.maximum = (int64_t)1 << 24,
		.unit = "keys",
		.help = "keys that each loop thread remembers, in 8 bytes each: an entry whose key is seen again among "
			"so many others moves to the front",
	},
};

static const struct option_table own_table = {own_options, sizeof(own_options) / sizeof(*own_options)};
static const struct option_table no_options;

/* The combined store; written once. A settings struct holds ours, then the front's, then that of the store behind. */
static struct {
	const struct cache_ops *front;
	const struct cache_ops *behind;
	size_t front_at;
	size_t behind_at;
	struct option_table table;
	struct cache_ops ops;
} made;

/* `front` and `behind`, here and in a lane, are the other stores' own structs, opaque to this one. */
struct tiered_cache {
	struct cache *front;
	struct cache *behind;
	size_t window_keys;
	_Atomic uint64_t purges;
	_Atomic uint64_t inserts;
	_Atomic uint64_t inserted[INSERT_MARKS]; /* number of the latest insert, by a part of the key */
	counter promotions;
};

struct tiered_lane {
	struct tiered_cache *cache;
	const struct cache_host *host;
	struct cache_host behind_host;
	struct cache_lane *front;
	struct cache_lane *behind;
	struct window window;
};

static struct tiered_cache *
cache_of(struct cache *cache)
{
	return (struct tiered_cache *)cache;
}

static struct tiered_lane *
lane_of(struct cache_lane *lane)
{
	return (struct tiered_lane *)lane;
}

/* --- Look-ups and inserts --- */

static void
tiered_peek(struct cache_lane *base, struct cache_lookup *lookup)
{
	struct tiered_lane *lane = lane_of(base);

	(void)made.front->lookup(lane->front, lookup);
}

static bool
tiered_lookup(struct cache_lane *base, struct cache_lookup *lookup)
{
	struct tiered_lane *lane = lane_of(base);

	lookup->purges = atomic_load(&lane->cache->purges);
	lookup->inserts = atomic_load(&lane->cache->inserts);
	return made.behind->lookup(lane->behind, lookup);
}

static uint64_t
purge_front(struct tiered_lane *lane, struct bytes model, struct bytes version)
{
	struct cache_purge purge = {.model = model, .version = version};

	(void)atomic_fetch_add(&lane->cache->purges, 1); /* first: promotions compare it before and after */
	(void)made.front->purge(lane->front, &purge);
	return purge.removed;
}

static _Atomic uint64_t *
insert_mark(struct tiered_lane *lane, const struct cache_key *key)
{
	return &lane->cache->inserted[(key->digest.bytes[2] << 8 | key->digest.bytes[3]) % INSERT_MARKS];
}

static void
note_insert(struct tiered_lane *lane, const struct cache_key *key)
{
	_Atomic uint64_t *mark = insert_mark(lane, key);
	uint64_t number = atomic_fetch_add(&lane->cache->inserts, 1) + 1;
	uint64_t last = atomic_load(mark);

	while (last < number && !atomic_compare_exchange_weak(mark, &last, number)) {
	}
}

static void
tiered_confirm(struct cache_lane *base, const struct cache_lookup *lookup, size_t index, uint64_t ttl_ms,
	       uint64_t cost_us)
{
	struct tiered_lane *lane = lane_of(base);
	const struct cache_key *key = &lookup->keys[index];
	struct cache_insert insert = {.key = key, .value = lookup->values[index], .ttl_ms = ttl_ms, .cost_us = cost_us};
	struct bytes model;
	struct bytes version;

	if (!window_see(&lane->window, &key->digest) || atomic_load(&lane->cache->purges) != lookup->purges ||
	    atomic_load(insert_mark(lane, key)) > lookup->inserts) { /* there may be a newer one in front */
		return;
	}
	(void)made.front->insert(lane->front, &insert);
	counter_add(&lane->cache->promotions, 1);
	if (atomic_load(&lane->cache->purges) != lookup->purges) { /* purged meanwhile, perhaps before the insert */
		cache_scope_split(key->scope, &model, &version);
		(void)purge_front(lane, model, version);
	}
}

static bool
tiered_insert(struct cache_lane *base, struct cache_insert *insert)
{
	struct tiered_lane *lane = lane_of(base);
	bool seen = window_see(&lane->window, &insert->key->digest);
	struct cache_insert front = {
		.key = insert->key,
		.value = insert->value,
		.ttl_ms = insert->fresh_ms > 0 ? insert->fresh_ms : insert->ttl_ms,
		.cost_us = insert->cost_us,
		/* A key that is seen for the first time only replaces an older entry in front. */
		.mode = seen || insert->mode != CACHE_PUT ? insert->mode : CACHE_REPLACE,
	};

	note_insert(lane, insert->key);
	if (seen || insert->mode != CACHE_KEEP) {
		(void)made.front->insert(lane->front, &front);
	}
	return made.behind->insert(lane->behind, insert);
}

/* --- Purges --- */

struct purging {
	struct cache_purge behind; /* first */
	struct tiered_lane *lane;
	struct cache_purge *asked;
	uint64_t removed; /* in front */
};

/* Purges the front again: look-ups may have promoted entries that were not yet purged behind. */
static struct cache_purge *
finish_purge(struct purging *purging)
{
	struct cache_purge *asked = purging->asked;
	uint64_t front = purging->removed + purge_front(purging->lane, asked->model, asked->version);

	asked->failed = purging->behind.failed;
	asked->removed = purging->behind.removed;
	if (asked->failed && front > asked->removed) {
		asked->removed = front;
	}
	free(purging);
	return asked;
}

static void
on_purged_behind(struct cache_purge *behind)
{
	struct cache_purge *asked = finish_purge((struct purging *)behind);

	asked->done(asked);
}

static bool
tiered_purge(struct cache_lane *base, struct cache_purge *purge)
{
	struct tiered_lane *lane = lane_of(base);
	struct purging *purging = calloc(1, sizeof(*purging));
	uint64_t removed = purge_front(lane, purge->model, purge->version);

	if (purging == NULL) {
		purge->removed = removed;
		purge->failed = true;
		return true;
	}
	purging->behind =
		(struct cache_purge){.model = purge->model, .version = purge->version, .done = on_purged_behind};
	purging->lane = lane;
	purging->asked = purge;
	purging->removed = removed;
	if (made.behind->purge(lane->behind, &purging->behind)) {
		(void)finish_purge(purging);
		return true;
	}
	return false;
}

/* --- The host of the store behind: this lane, which passes calls on to its own host --- */

static void *
host_watch_new(void *context, int fd, void (*fn)(void *argument, unsigned events), void *argument)
{
	const struct cache_host *host = ((struct tiered_lane *)context)->host;

	return host->watch_new(host->context, fd, fn, argument);
}

static void *
host_timer_new(void *context, void (*fn)(void *argument), void *argument)
{
	const struct cache_host *host = ((struct tiered_lane *)context)->host;

	return host->timer_new(host->context, fn, argument);
}

static void
host_resolve(void *context, const char *name, uint16_t port, unsigned attempt,
	     void (*done)(void *argument, const struct sockaddr *address, socklen_t length, const char *failure),
	     void *argument)
{
	const struct cache_host *host = ((struct tiered_lane *)context)->host;

	host->resolve(host->context, name, port, attempt, done, argument);
}

static void
host_purged(void *listener, struct bytes model, struct bytes version, uint64_t at_ms)
{
	struct tiered_lane *lane = listener;

	(void)purge_front(lane, model, version);
	if (lane->host->purged != NULL) {
		lane->host->purged(lane->host->listener, model, version, at_ms);
	}
}

/* --- Lanes --- */

static void
free_lane(struct tiered_lane *lane)
{
	if (lane->behind != NULL) {
		made.behind->detach(lane->behind); /* first: its last answers may use the front */
	}
	if (lane->front != NULL) {
		made.front->detach(lane->front);
	}
	window_fini(&lane->window);
	free(lane);
}

static void
tiered_detach(struct cache_lane *base)
{
	free_lane(lane_of(base));
}

static struct cache_lane *
tiered_attach(struct cache *base, const struct cache_host *host)
{
	struct tiered_cache *cache = cache_of(base);
	struct tiered_lane *lane = calloc(1, sizeof(*lane));

	if (lane == NULL) {
		return NULL;
	}
	lane->cache = cache;
	lane->host = host;
	lane->behind_host = *host;
	lane->behind_host.context = lane;
	lane->behind_host.watch_new = host_watch_new;
	lane->behind_host.timer_new = host_timer_new;
	lane->behind_host.resolve = host_resolve;
	lane->behind_host.purged = host_purged;
	lane->behind_host.listener = lane;
	if (window_init(&lane->window, cache->window_keys)) {
		lane->front = made.front->attach(cache->front, host);
		lane->behind = lane->front == NULL ? NULL : made.behind->attach(cache->behind, &lane->behind_host);
	}
	if (lane->behind == NULL) {
		free_lane(lane);
		return NULL;
	}
	return (struct cache_lane *)lane;
}

/* --- Operations of the store behind alone; NULL in our table where they are NULL in its --- */

static const char *
tiered_trouble(struct cache_lane *base)
{
	return made.behind->trouble(lane_of(base)->behind);
}

static const struct cache_secret *
tiered_secret(struct cache_lane *base)
{
	return made.behind->secret(lane_of(base)->behind);
}

static void
tiered_catch_up(struct cache_lane *base)
{
	made.behind->catch_up(lane_of(base)->behind);
}

static void
tiered_remove(struct cache_lane *base, const struct cache_key *key)
{
	struct tiered_lane *lane = lane_of(base);

	if (made.front->remove != NULL) {
		made.front->remove(lane->front, key);
	}
	made.behind->remove(lane->behind, key);
}

static bool
tiered_lease(struct cache_lane *base, struct cache_lease *lease)
{
	return made.behind->lease(lane_of(base)->behind, lease);
}

static void
tiered_release(struct cache_lane *base, const struct cache_key *key)
{
	made.behind->release(lane_of(base)->behind, key);
}

static void
tiered_reset_connections(struct cache_lane *base)
{
	made.behind->reset_connections(lane_of(base)->behind);
}

/* --- The store --- */

static void
close_parts(struct tiered_cache *cache)
{
	if (cache->front != NULL) {
		made.front->close(cache->front);
	}
	if (cache->behind != NULL) {
		made.behind->close(cache->behind);
	}
	free(cache);
}

static void *
copy_part(const void *settings, size_t at, size_t size)
{
	void *part = malloc(size);

	if (part != NULL) {
		memcpy(part, (const char *)settings + at, size);
	}
	return part;
}

static void
tiered_close(struct cache *base)
{
	close_parts(cache_of(base));
}

static struct cache *
tiered_open(void *settings, bool secret_wanted, struct error *error)
{
	struct tiered_cache *cache = calloc(1, sizeof(*cache));
	void *front = copy_part(settings, made.front_at, made.front->settings_size);
	void *behind = copy_part(settings, made.behind_at, made.behind->settings_size);

	if (cache == NULL || front == NULL || behind == NULL) {
		option_fini(made.table, settings);
		free(settings);
		free(cache);
		free(front);
		free(behind);
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the tiered cache");
		return NULL;
	}
	cache->window_keys = (size_t)((struct tiered_settings *)settings)->promotion_window;
	free(settings);
	cache->front = made.front->open(front, false, error);
	cache->behind = made.behind->open(behind, secret_wanted, error);
	if (cache->front == NULL || cache->behind == NULL) {
		(void)error_prefix(error, "cache 'tiered', where the key KEY of %s is %s.KEY: ", made.behind->name,
				   made.behind->name);
		close_parts(cache);
		return NULL;
	}
	return (struct cache *)cache;
}

/* A key found in either store is one hit: keys found in front are not looked up behind. */
static void
tiered_statistics(struct cache *base, struct cache_statistics *statistics)
{
	struct tiered_cache *cache = cache_of(base);
	struct cache_statistics behind;

	made.front->statistics(cache->front, statistics);
	made.behind->statistics(cache->behind, &behind);
	statistics->hits += behind.hits;
	if (statistics->hits > statistics->lookups) { /* found in front, too old for the caller, then found behind */
		statistics->hits = statistics->lookups;
	}
	statistics->failures = behind.failures;
	statistics->inserts = behind.inserts;
	statistics->dropped = behind.dropped;
	statistics->connections = behind.connections;
}

static void
tell_tier(const struct metric_sink *sink, const char *name, const char *tier, uint64_t hits)
{
	struct metric_label label = {"tier", bytes_text(tier)};

	metric_emit(sink, name, &label, hits);
}

static void
tiered_metrics(struct cache *base, const struct metric_sink *sink)
{
	struct tiered_cache *cache = cache_of(base);
	static const char hits[] = "hippocamp_cache_tier_hits_total";
	struct cache_statistics front;
	struct cache_statistics behind;

	made.front->statistics(cache->front, &front);
	made.behind->statistics(cache->behind, &behind);
	metric_emit_family(sink, hits, "counter", "Keys found, by the tier that had them");
	tell_tier(sink, hits, made.front->name, front.hits);
	tell_tier(sink, hits, made.behind->name, behind.hits);
	metric_emit_one(sink, "hippocamp_cache_promotions_total", "counter",
			"Entries that came from the shared tier into the local one", counter_read(&cache->promotions));
	if (made.front->metrics != NULL) {
		made.front->metrics(cache->front, sink);
	}
	if (made.behind->metrics != NULL) {
		made.behind->metrics(cache->behind, sink);
	}
}

static void
tiered_nodes(struct cache *base, void (*tell)(void *context, const struct cache_node *node), void *context)
{
	struct tiered_cache *cache = cache_of(base);

	if (made.behind->nodes != NULL) {
		made.behind->nodes(cache->behind, tell, context);
	}
}

static void
tiered_describe(struct cache *base, char *text, size_t size)
{
	struct tiered_cache *cache = cache_of(base);
	char front[256];
	char behind[256];

	made.front->describe(cache->front, front, sizeof(front));
	made.behind->describe(cache->behind, behind, sizeof(behind));
	(void)snprintf(text, size, "tiered: %s; behind it %s", front, behind);
}

/* --- The table --- */

static size_t
round_up(size_t size)
{
	return (size + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
}

/* Without a `prefix` the options keep their names. */
static bool
add_options(struct option *options, struct option_table table, const char *prefix, size_t offset)
{
	for (size_t i = 0; i < table.count; i++) {
		char *name;

		options[i] = table.options[i];
		options[i].offset += offset;
		if (prefix != NULL) {
			if (asprintf(&name, "%s.%s", prefix, table.options[i].name) < 0) {
				return false;
			}
			options[i].name = name;
		}
	}
	return true;
}

static bool
make_options(void)
{
	struct option_table front = made.front->options == NULL ? no_options : *made.front->options;
	struct option_table behind = made.behind->options == NULL ? no_options : *made.behind->options;
	size_t count = own_table.count + front.count + behind.count;
	struct option *options = calloc(count, sizeof(*options));

	if (options == NULL || !add_options(options, own_table, NULL, 0) ||
	    !add_options(options + own_table.count, front, made.front->name, made.front_at) ||
	    !add_options(options + own_table.count + front.count, behind, made.behind->name, made.behind_at)) {
		free(options);
		return false;
	}
	made.table = (struct option_table){options, count};
	return true;
}

const struct cache_ops *
cache_tiered_ops(const struct cache_ops *front, const struct cache_ops *behind)
{
	if (made.table.options != NULL && made.front == front && made.behind == behind) {
		return &made.ops;
	}
	made.front = front;
	made.behind = behind;
	made.front_at = round_up(sizeof(struct tiered_settings));
	made.behind_at = made.front_at + round_up(front->settings_size);
	made.ops = (struct cache_ops){
		.name = "tiered",
		.untrusted = behind->untrusted,
		.default_ttl_s = behind->default_ttl_s,
		.options = &made.table,
		.settings_size = made.behind_at + behind->settings_size,
		.open = tiered_open,
		.close = tiered_close,
		.attach = tiered_attach,
		.detach = tiered_detach,
		.secret = behind->secret == NULL ? NULL : tiered_secret,
		.lookup = tiered_lookup,
		.peek = tiered_peek,
		.confirm = tiered_confirm,
		.catch_up = behind->catch_up == NULL ? NULL : tiered_catch_up,
		.insert = tiered_insert,
		.remove = behind->remove == NULL ? NULL : tiered_remove,
		.purge = tiered_purge,
		.lease = behind->lease == NULL ? NULL : tiered_lease,
		.release = behind->release == NULL ? NULL : tiered_release,
		.reset_connections = behind->reset_connections == NULL ? NULL : tiered_reset_connections,
		.trouble = behind->trouble == NULL ? NULL : tiered_trouble,
		.statistics = tiered_statistics,
		.metrics = tiered_metrics,
		.nodes = tiered_nodes,
		.describe = tiered_describe,
	};
	return make_options() ? &made.ops : NULL;
}
