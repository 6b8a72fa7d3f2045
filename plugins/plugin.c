#include "plugins/plugin.h"

#include "base/clock.h"
#include "base/lateness.h"
#include "base/secret.h"
#include "base/version.h"
#include "plugins/entry.h"
#include "plugins/triton_metrics.h"
#include "plugins/generation.h"
#include "plugins/background_thread.h"
#include "plugins/packed.h"
#include "plugins/latency_breaker.h"
#include "plugins/settings.h"
#include "plugins/triton.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define NO_OUTPUTS sizeof(uint32_t) /* bytes of a packed response without any */

/* Why a response was not stored. */
enum refusal {
	REFUSED_NO_OUTPUTS,
	REFUSED_MALFORMED,
	REFUSED_NO_KEY,
	REFUSED_TOO_LARGE,
	REFUSED_GENERATION,
	REFUSED_UNREACHABLE,
	REFUSED_BACKLOG,
	REFUSED_HOST,
	REFUSAL_COUNT,
};

static const char *const refusal_names[REFUSAL_COUNT] = {
	[REFUSED_NO_OUTPUTS] = "no_outputs", [REFUSED_MALFORMED] = "malformed",
	[REFUSED_NO_KEY] = "no_key",	     [REFUSED_TOO_LARGE] = "too_large",
	[REFUSED_GENERATION] = "generation", [REFUSED_UNREACHABLE] = "unreachable",
	[REFUSED_BACKLOG] = "backlog",	     [REFUSED_HOST] = "host",
};

#define STRIPES 16

/* Counters of every look-up, one set for some of the processors: a single set would move between their caches. */
struct stripe {
	_Alignas(64) counter lookups;
	counter hits;
	counter lookup_ns;
};

struct plugin {
	const struct cache_ops *ops;
	struct cache *store;
	struct plugin_settings settings;
	struct generation *generation;
	struct keyed_hash_key secret_key;
	struct keyed_hash_key name_key;		/* part of the keys; zeros without a secret */
	const struct keyed_hash_key *entry_key; /* &secret_key; NULL: no secret was given */
	struct triton_metrics *figures;
	struct background_thread *background_thread;
	struct cache_lane *direct;	/* of a synchronous store, for all threads */
	struct shared_client **clients; /* of any other store */
	size_t client_count;
	struct shared_client *writer;
	struct latency_breaker latency_breaker;
	atomic_size_t next;

	struct stripe stripes[STRIPES];
	counter late;
	struct lateness lateness;
	counter skipped;
	counter failed;
	counter corrupt;
	counter wrong_mac;
	counter insert_ns;
	counter refusals[REFUSAL_COUNT];
};

/* --- Looking up --- */

/* Returns a client with the fewest look-ups under way, in turn among equals. */
static struct shared_client *
choose_client(struct plugin *plugin)
{
	size_t first = plugin->client_count == 1 ? 0 : atomic_fetch_add(&plugin->next, 1);
	struct shared_client *best = plugin->clients[first % plugin->client_count];

	for (size_t i = 1; i < plugin->client_count && shared_client_load(best) > 0; i++) {
		struct shared_client *client = plugin->clients[(first + i) % plugin->client_count];

		if (shared_client_load(client) < shared_client_load(best)) {
			best = client;
		}
	}
	return best;
}

/* Gives the response to the host, which copies it out of the entry. */
static bool
give(const struct blob *value, TRITONCACHE_CacheEntry *entry, TRITONCACHE_Allocator *allocator,
     TRITONSERVER_Error **refused)
{
	struct bytes response = plugin_entry_response(value);
	TRITONSERVER_BufferAttributes *attributes = NULL;

	*refused = triton.TRITONSERVER_BufferAttributesNew(&attributes);
	if (*refused != NULL) {
		return false;
	}
	(void)triton_succeeded(triton.TRITONSERVER_BufferAttributesSetByteSize(attributes, response.length));
	(void)triton_succeeded(triton.TRITONSERVER_BufferAttributesSetMemoryType(attributes, TRITONSERVER_MEMORY_CPU));
	(void)triton_succeeded(triton.TRITONSERVER_BufferAttributesSetMemoryTypeId(attributes, 0));
	*refused = triton.TRITONCACHE_CacheEntryAddBuffer(entry, (void *)response.at, attributes);
	(void)triton_succeeded(triton.TRITONSERVER_BufferAttributesDelete(attributes));
	if (*refused == NULL) {
		*refused = triton.TRITONCACHE_Copy(allocator, entry);
	}
	return *refused == NULL;
}

/* Looks up in this process. These values need no check: they were checked when they were stored here. */
static struct blob *
look_up_at_once(struct plugin *plugin, const struct generation_key *key, uint64_t now_ns, enum cache_count counted)
{
	struct blob *value = NULL;
	struct cache_lookup lookup = {
		.keys = &key->key,
		.count = 1,
		.values = &value,
		.now_ns = now_ns,
		.counted = counted,
	};

	if (plugin->direct != NULL) {
		(void)plugin->ops->lookup(plugin->direct, &lookup);
	} else {
		shared_client_peek(plugin->clients[0], &lookup);
	}
	return value;
}

/* Is the value found the answer, undamaged and still valid? Removes damaged entries. */
static bool
check(struct plugin *plugin, const struct generation_key *key, struct client_finding *finding)
{
	uint64_t remaining_ms = 0;
	bool first; /* only the first of those that found it counts the damage */
	enum plugin_entry_verdict verdict =
		plugin_entry_check(finding->value, plugin->entry_key, &key->key.digest, clock_wall_ms(), &remaining_ms);

	switch (verdict) {
	case PLUGIN_ENTRY_GOOD:
		latency_breaker_note_size(&plugin->latency_breaker, &key->key.digest, finding->value->length);
		shared_client_confirm(finding, remaining_ms);
		return true;
	case PLUGIN_ENTRY_WRONG_MAC:
		first = shared_client_remove(finding);
		counter_add(&plugin->wrong_mac, first);
		counter_add(&plugin->corrupt, first);
		return false;
	case PLUGIN_ENTRY_CORRUPT:
		counter_add(&plugin->corrupt, shared_client_remove(finding));
		return false;
	case PLUGIN_ENTRY_MISPLACED: /* mixed up on the way or in the store: we cannot tell */
		counter_add(&plugin->corrupt, shared_client_reset_connections(finding));
		return false;
	case PLUGIN_ENTRY_EXPIRED: /* by this machine's clock; the store expires it by its own */
		break;
	}
	return false;
}

static void
note_latency(struct plugin *plugin, const struct generation_key *key, bool late, uint64_t start_ns)
{
	char line[160];

	switch (latency_breaker_note(&plugin->latency_breaker, &key->key.digest, late, start_ns, clock_now_ns())) {
	case LATENCY_BREAKER_LOST:
		(void)snprintf(
			line, sizeof(line),
			"cache '%s': look-ups take longer than lookup_timeout (%lld ms), one after the other: most "
			"are skipped until they do not",
			plugin->ops->name, (long long)plugin->settings.lookup_timeout_ms);
		triton_log(LOG_WARNING, line);
		break;
	case LATENCY_BREAKER_FOUND:
		(void)snprintf(line, sizeof(line), "cache '%s': look-ups are in time again", plugin->ops->name);
		triton_log(LOG_INFO, line);
		break;
	case LATENCY_BREAKER_AS_BEFORE:
		break;
	}
}

static void
tell_of_lateness(const struct plugin *plugin)
{
	char line[256];

	(void)snprintf(
		line, sizeof(line),
		"cache '%s': no look-up is in time: the store is farther away than lookup_timeout (%lld ms); raise "
		"lookup_timeout above the time that an answer takes",
		plugin->ops->name, (long long)plugin->settings.lookup_timeout_ms);
	triton_log(LOG_WARNING, line);
}

static bool
take_finding(struct plugin *plugin, const struct generation_key *key, enum client_answer answer, uint64_t start_ns,
	     struct client_finding *finding)
{
	if (answer != CLIENT_FAILED && lateness_note(&plugin->lateness, answer == CLIENT_LATE, clock_now_ns())) {
		tell_of_lateness(plugin);
	}
	if (answer != CLIENT_FAILED) { /* a failure tells nothing about latency */
		note_latency(plugin, key, answer == CLIENT_LATE, start_ns);
	}
	counter_add(&plugin->late, answer == CLIENT_LATE);
	counter_add(&plugin->failed, answer == CLIENT_FAILED);
	if (answer == CLIENT_DAMAGED) {
		counter_add(&plugin->corrupt, shared_client_remove(finding));
	}
	return answer == CLIENT_FOUND && check(plugin, key, finding);
}

static bool
look_up_by_client(struct plugin *plugin, const struct generation_key *key, TRITONCACHE_CacheEntry *entry,
		  TRITONCACHE_Allocator *allocator, TRITONSERVER_Error **refused)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t deadline_ns = now_ns + (uint64_t)plugin->settings.lookup_timeout_ms * NS_PER_MS;
	uint32_t size = latency_breaker_size(&plugin->latency_breaker, &key->key.digest);
	struct client_finding finding;
	enum client_answer answer;
	bool hit;

	if (!latency_breaker_allows(&plugin->latency_breaker, &key->key.digest, now_ns)) {
		counter_add(&plugin->skipped, 1);
		return false;
	}
	/* If the size is unknown, pass 1: the store would estimate it by the scope, but here all models share one. */
	answer = shared_client_look_up(choose_client(plugin), key, size == 0 ? 1 : size, deadline_ns, &finding);
	hit = take_finding(plugin, key, answer, now_ns, &finding) && give(finding.value, entry, allocator, refused);
	client_finding_end(&finding);
	return hit;
}

static void
count_look_up(struct plugin *plugin, bool hit, uint64_t took_ns)
{
	int processor = sched_getcpu();
	struct stripe *stripe = &plugin->stripes[processor < 0 ? 0 : processor % STRIPES];

	counter_add(&stripe->lookups, 1);
	counter_add(&stripe->lookup_ns, took_ns);
	if (hit) {
		counter_add(&stripe->hits, 1);
	}
}

bool
plugin_look_up(struct plugin *plugin, const char *triton_key, TRITONCACHE_CacheEntry *entry,
	       TRITONCACHE_Allocator *allocator, TRITONSERVER_Error **refused)
{
	uint64_t start_ns = clock_now_ns();
	struct generation_key key;
	struct blob *value;
	bool hit = false;

	*refused = NULL;
	if (*triton_key != '\0') {
		generation_make_key(plugin->generation, triton_key, &key);
		value = look_up_at_once(plugin, &key, start_ns, CACHE_COUNT_ALL);
		if (value != NULL) {
			hit = give(value, entry, allocator, refused);
			blob_unref(value);
		} else if (plugin->client_count > 0) {
			hit = look_up_by_client(plugin, &key, entry, allocator, refused);
		}
		if (!hit) {
			generation_missed(plugin->generation, &key);
		}
	}
	count_look_up(plugin, hit, clock_now_ns() - start_ns);
	return hit;
}

/* --- Inserting --- */

/* Bytes of the response; 0: the host does not say, or the entry does not have exactly one buffer. */
static size_t
response_size(TRITONCACHE_CacheEntry *entry)
{
	TRITONSERVER_BufferAttributes *attributes = NULL;
	void *base = NULL;
	size_t count = 0;
	size_t size = 0;

	if (!triton_succeeded(triton.TRITONCACHE_CacheEntryBufferCount(entry, &count)) || count != 1 ||
	    !triton_succeeded(triton.TRITONSERVER_BufferAttributesNew(&attributes))) {
		return 0;
	}
	if (!triton_succeeded(triton.TRITONCACHE_CacheEntryGetBuffer(entry, 0, &base, attributes)) ||
	    !triton_succeeded(triton.TRITONSERVER_BufferAttributesByteSize(attributes, &size))) {
		size = 0;
	}
	(void)triton_succeeded(triton.TRITONSERVER_BufferAttributesDelete(attributes));
	return size;
}

/* Makes an entry and lets the host pack the response into it. NULL on failure. */
static struct blob *
take(size_t size, TRITONCACHE_CacheEntry *entry, TRITONCACHE_Allocator *allocator)
{
	struct blob *value = plugin_entry_new(size);

	if (value == NULL ||
	    !triton_succeeded(
		    triton.TRITONCACHE_CacheEntrySetBuffer(entry, 0, value->data + PLUGIN_ENTRY_HEADER, NULL)) ||
	    !triton_succeeded(triton.TRITONCACHE_Copy(allocator, entry))) {
		blob_unref(value);
		return NULL;
	}
	return value;
}

/* The TTL, less up to a tenth at random, so that entries stored together do not expire together. */
static uint64_t
lifetime_ms(const struct plugin *plugin)
{
	uint64_t ttl_ms = (uint64_t)plugin->settings.ttl_s * 1000U;
	uint32_t random;

	if (ttl_ms == 0) {
		return 0;
	}
	random_bytes(&random, sizeof(random));
	return ttl_ms - random % (ttl_ms / 10 + 1);
}

static void
refuse(struct plugin *plugin, enum refusal why)
{
	counter_add(&plugin->refusals[why], 1);
}

static void
store(struct plugin *plugin, const struct generation_key *key, struct blob *value)
{
	uint64_t ttl_ms = lifetime_ms(plugin);
	struct cache_insert insert = {.key = &key->key, .value = value, .ttl_ms = ttl_ms, .mode = CACHE_KEEP};

	if (plugin->direct != NULL) {
		(void)plugin->ops->insert(plugin->direct, &insert);
		blob_unref(value);
	} else if (!background_thread_store(plugin->background_thread, key, value, ttl_ms)) {
		refuse(plugin, REFUSED_BACKLOG);
	}
}

/* Equal requests that came together all missed: has another one stored the answer already? */
static bool
is_there(struct plugin *plugin, const struct generation_key *key)
{
	struct blob *value = look_up_at_once(plugin, key, clock_now_ns(), CACHE_COUNT_NOTHING);

	blob_unref(value);
	return value != NULL;
}

/* Is the response worth copying? Counts the refusal if not. */
static bool
is_wanted(struct plugin *plugin, size_t size)
{
	size_t most = (size_t)plugin->settings.max_value_bytes;
	struct cache_statistics statistics;

	if (size == 0 || (most > 0 && size > most)) {
		refuse(plugin, size == 0 ? REFUSED_HOST : REFUSED_TOO_LARGE);
		return false;
	}
	if (!cache_tells_at_once(plugin->ops)) {
		plugin->ops->statistics(plugin->store, &statistics);
		if (statistics.connections == 0) {
			refuse(plugin, REFUSED_UNREACHABLE);
			return false;
		}
	}
	return true;
}

/* Copies and checks the response. NULL: it is not to be stored, and the refusal is counted. */
static struct blob *
take_good(struct plugin *plugin, size_t size, TRITONCACHE_CacheEntry *entry, TRITONCACHE_Allocator *allocator)
{
	struct blob *value = take(size, entry, allocator);
	enum packed_verdict verdict;

	if (value == NULL) {
		refuse(plugin, REFUSED_HOST);
		return NULL;
	}
	verdict = packed_check(plugin_entry_response(value));
	if (verdict == PACKED_GOOD) {
		return value;
	}
	refuse(plugin, verdict == PACKED_EMPTY ? REFUSED_NO_OUTPUTS : REFUSED_MALFORMED);
	blob_unref(value);
	return NULL;
}

static void
insert(struct plugin *plugin, const char *triton_key, TRITONCACHE_CacheEntry *entry, TRITONCACHE_Allocator *allocator)
{
	size_t size = response_size(entry);
	struct generation_key key;
	struct blob *value;

	if (*triton_key == '\0') {
		refuse(plugin, REFUSED_NO_KEY);
		return;
	}
	/* An error, or an empty last response: it may accompany an answer, so it does not settle the miss. */
	if (size == NO_OUTPUTS) {
		refuse(plugin, REFUSED_NO_OUTPUTS);
		return;
	}
	if (!generation_answered(plugin->generation, triton_key, &key)) {
		refuse(plugin, REFUSED_GENERATION);
		return;
	}
	if (!is_wanted(plugin, size) || is_there(plugin, &key)) {
		return;
	}
	value = take_good(plugin, size, entry, allocator);
	if (value != NULL) {
		latency_breaker_note_size(&plugin->latency_breaker, &key.key.digest, value->length);
		store(plugin, &key, value);
	}
}

void
plugin_insert(struct plugin *plugin, const char *key, TRITONCACHE_CacheEntry *entry, TRITONCACHE_Allocator *allocator)
{
	uint64_t start_ns = clock_now_ns();

	insert(plugin, key, entry, allocator);
	counter_add(&plugin->insert_ns, clock_now_ns() - start_ns);
}

/* --- Metrics --- */

/* Metrics by the names of NVIDIA's local cache; those of the store's contents only if they are in this process. */
static void
tell_as_triton(struct plugin *plugin, const struct metric_sink *sink, const struct cache_statistics *statistics)
{
	uint64_t lookups = 0;
	uint64_t hits = 0;
	uint64_t lookup_ns = 0;

	for (size_t i = 0; i < STRIPES; i++) {
		lookups += counter_read(&plugin->stripes[i].lookups);
		hits += counter_read(&plugin->stripes[i].hits);
		lookup_ns += counter_read(&plugin->stripes[i].lookup_ns);
	}
	if (statistics->capacity_bytes > 0) {
		metric_emit_family(sink, "nv_cache_util", "gauge", "Cache utilization [0.0 - 1.0]");
		sink->sample(sink->context, "nv_cache_util", NULL, 0,
			     (double)statistics->used_bytes / (double)statistics->capacity_bytes);
		metric_emit_one(sink, "nv_cache_num_entries", "gauge", "Number of responses stored in cache",
				statistics->entries);
		metric_emit_one(sink, "nv_cache_num_evictions", "gauge", "Number of cache evictions in cache",
				statistics->evictions);
	}
	metric_emit_one(sink, "nv_cache_num_lookups", "gauge", "Number of cache lookups in cache", lookups);
	metric_emit_one(sink, "nv_cache_num_hits", "gauge", "Number of cache hits in cache", hits);
	metric_emit_one(sink, "nv_cache_num_misses", "gauge", "Number of cache misses in cache",
			lookups > hits ? lookups - hits : 0);
	metric_emit_one(sink, "nv_cache_lookup_duration", "gauge", "Total cache lookup duration, in microseconds",
			lookup_ns / 1000);
	metric_emit_one(sink, "nv_cache_insertion_duration", "gauge", "Total cache insertion duration, in microseconds",
			counter_read(&plugin->insert_ns) / 1000);
}

static void
tell_refusals(struct plugin *plugin, const struct metric_sink *sink)
{
	static const char name[] = "hippocamp_cache_not_stored_total";

	metric_emit_family(sink, name, "counter", "Responses that were not given to the store, by the reason");
	for (size_t i = 0; i < REFUSAL_COUNT; i++) {
		struct metric_label reason = {"reason", bytes_text(refusal_names[i])};

		metric_emit(sink, name, &reason, counter_read(&plugin->refusals[i]));
	}
}

static void
tell_own(struct plugin *plugin, const struct metric_sink *sink, const struct cache_statistics *statistics)
{
	if (!plugin->ops->synchronous) {
		metric_emit_one(sink, "hippocamp_cache_connections", "gauge", "Open connections to the cache's server",
				statistics->connections);
		metric_emit_one(sink, "hippocamp_cache_lookup_failures_total", "counter",
				"Look-ups that could not be made or were not answered", counter_read(&plugin->failed));
		metric_emit_one(sink, "hippocamp_cache_lookup_timeouts_total", "counter",
				"Look-ups that took longer than lookup_timeout", counter_read(&plugin->late));
		metric_emit_one(sink, "hippocamp_cache_lookups_skipped_total", "counter",
				"Look-ups that were not made, as those before took longer than lookup_timeout",
				counter_read(&plugin->skipped));
		metric_emit_one(sink, "hippocamp_cache_corrupt_total", "counter",
				"Entries found damaged or foreign, counted as misses", counter_read(&plugin->corrupt));
		metric_emit_one(
			sink, "hippocamp_cache_wrong_mac_total", "counter",
			"Entries whose MAC is wrong: altered, or made without the secret; counted as corrupt, too",
			counter_read(&plugin->wrong_mac));
	}
	metric_emit_one(sink, "hippocamp_cache_inserts_total", "counter", "Entries stored", statistics->inserts);
	metric_emit_one(sink, "hippocamp_cache_dropped_total", "counter",
			"Entries not stored: too large, too many waiting, or the cache's server down or full",
			statistics->dropped);
	tell_refusals(plugin, sink);
	if (plugin->ops->metrics != NULL) {
		plugin->ops->metrics(plugin->store, sink);
	}
}

static void
every_second(void *context)
{
	struct plugin *plugin = context;
	struct cache_statistics statistics;
	const struct metric_sink *sink;

	generation_refresh(plugin->generation);
	if (plugin->figures != NULL) {
		plugin->ops->statistics(plugin->store, &statistics);
		sink = triton_metrics_begin(plugin->figures);
		tell_as_triton(plugin, sink, &statistics);
		tell_own(plugin, sink, &statistics);
		triton_metrics_end(plugin->figures);
	}
}

/* --- Opening and closing --- */

static bool
open_clients(struct plugin *plugin)
{
	plugin->clients = calloc(plugin->settings.clients, sizeof(*plugin->clients));
	if (plugin->clients == NULL) {
		return false;
	}
	while (plugin->client_count < plugin->settings.clients) {
		plugin->clients[plugin->client_count] = shared_client_new(plugin->ops, plugin->store);
		if (plugin->clients[plugin->client_count] == NULL) {
			return false;
		}
		plugin->client_count++;
	}
	plugin->writer = shared_client_new(plugin->ops, plugin->store);
	return plugin->writer != NULL;
}

/* A synchronous store needs nothing of its host but the log. */
static bool
open_direct(struct plugin *plugin)
{
	static const struct cache_host host = {.log = triton_log};

	plugin->direct = plugin->ops->attach(plugin->store, &host);
	return plugin->direct != NULL;
}

static enum status
open_store(struct plugin *plugin, void *store_settings, struct error *error)
{
	bool opened;

	plugin->store = plugin->ops->open(store_settings, false, error);
	if (plugin->store == NULL) {
		return error->status;
	}
	opened = plugin->ops->synchronous ? open_direct(plugin) : open_clients(plugin);
	if (opened) {
		every_second(plugin); /* so that all families are there from the start */
		plugin->background_thread = background_thread_start(&(struct background_thread_options){
			.clients = plugin->clients,
			.client_count = plugin->client_count,
			.writer = plugin->writer,
			.entry_key = plugin->entry_key,
			.waiting_bytes = plugin->settings.waiting_bytes,
			.every_second = every_second,
			.context = plugin,
		});
	}
	return plugin->background_thread != NULL
		       ? STATUS_OK
		       : error_set(error, STATUS_UNAVAILABLE, "no memory, no descriptors or no thread for cache '%s'",
				   plugin->ops->name);
}

static enum status
take_secret(struct plugin *plugin, struct error *error)
{
	struct secret secret;
	enum status status = secret_find(NULL, plugin->settings.key_secret_file, &secret, error);

	if (status == STATUS_OK && secret.length > 0) {
		keyed_hash_derive(&plugin->secret_key, bytes_make(secret.text, secret.length),
				  "hippocamp plug-in entry");
		plugin->entry_key = &plugin->secret_key;
		keyed_hash_derive(&plugin->name_key, bytes_make(secret.text, secret.length), "hippocamp plug-in name");
	}
	secret_forget(&secret);
	return status == STATUS_OK ? status : error_prefix(error, "cache '%s': ", plugin->ops->name);
}

static enum status
open_parts(struct plugin *plugin, const char *json, struct error *error)
{
	const struct plugin_settings *settings = &plugin->settings;
	void *store_settings = NULL;
	enum status status = plugin_settings_read(plugin->ops, json, &plugin->settings, &store_settings, error);

	if (status != STATUS_OK) {
		return status;
	}
	status = take_secret(plugin, error);
	if (status == STATUS_OK) {
		plugin->generation =
			generation_open(settings->name_space, bytes_make(plugin->name_key.bytes, KEYED_HASH_KEY),
					settings->generation, settings->generation_file, error);
	}
	if (plugin->generation == NULL) {
		option_fini(*plugin->ops->options, store_settings);
		free(store_settings);
		return error->status;
	}
	plugin->figures = triton_metrics_new();
	return open_store(plugin, store_settings, error);
}

static void
say_opened(const struct plugin *plugin)
{
	struct generation_key key;
	char store[512];
	char line[800];

	plugin->ops->describe(plugin->store, store, sizeof(store));
	generation_make_key(plugin->generation, "", &key);
	(void)snprintf(line, sizeof(line), "hippocamp %s cache: %s; entries are kept as %.*s", HIPPOCAMP_VERSION, store,
		       (int)key.key.scope.length, key.scope_text);
	triton_log(LOG_INFO, line);
}

struct plugin *
plugin_open(const char *json, struct error *error)
{
	const struct cache_ops *ops = plugin_store();
	struct plugin *plugin = ops == NULL ? NULL : aligned_alloc(_Alignof(struct plugin), sizeof(*plugin));

	if (plugin == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
		return NULL;
	}
	*plugin = (struct plugin){.ops = ops};
	if (open_parts(plugin, json == NULL ? "{}" : json, error) != STATUS_OK) {
		plugin_close(plugin);
		return NULL;
	}
	say_opened(plugin);
	return plugin;
}

void
plugin_close(struct plugin *plugin)
{
	background_thread_stop(plugin->background_thread);
	for (size_t i = 0; i < plugin->client_count; i++) {
		shared_client_free(plugin->clients[i]);
	}
	free(plugin->clients);
	shared_client_free(plugin->writer);
	background_thread_free(plugin->background_thread);
	if (plugin->direct != NULL) {
		plugin->ops->detach(plugin->direct);
	}
	triton_metrics_free(plugin->figures);
	if (plugin->store != NULL) {
		plugin->ops->close(plugin->store);
	}
	generation_close(plugin->generation);
	plugin_settings_fini(&plugin->settings);
	explicit_bzero(&plugin->secret_key, sizeof(plugin->secret_key));
	explicit_bzero(&plugin->name_key, sizeof(plugin->name_key));
	free(plugin);
}
