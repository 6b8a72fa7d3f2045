#include "caches/triton/triton.h"

#include "caches/triton/host.h"
#include "caches/triton/workers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORKERS 8
#define LOOKUPS_MAX 1024		      /* waiting for a worker */
#define INSERT_BYTES_MAX (UINT64_C(64) << 20) /* of values that are not stored yet */
#define TURNS 4096
#define CONFIGURATION_MAX ((size_t)1 << 20)
#define END_TIMEOUT_MS 2000 /* for running calls to end, when the store is closed */

/* The plug-in to open; written once. */
static struct {
	const char *path;
	struct buf configuration; /* JSON, NUL-terminated */
	struct cache_ops ops;
} made;

struct triton_cache {
	struct host_plugin plugin;
	TRITONCACHE_Cache *opened;
	struct workers *workers;
	/* By a part of the key: how often the plug-in refused to replace an entry. */
	_Atomic uint32_t turns[TURNS];
	_Atomic uint64_t insert_bytes;
	counter lookups;
	counter hits;
	counter failures;
	counter inserts;
	counter dropped;
};

TAILQ_HEAD(call_list, call);

/* References: the owner's, and one for each call. */
struct triton_lane {
	atomic_uint references;
	struct triton_cache *cache;
	const struct cache_host *host;
	void *watch;
	struct call_list unanswered; /* the lane's thread only */
	pthread_mutex_t mutex;	     /* guards what follows */
	bool detached;
	int wake_fd;
	struct call_list ended; /* calls that are not answered yet */
};

static struct triton_cache *
cache_of(struct cache *cache)
{
	return (struct triton_cache *)cache;
}

static struct triton_lane *
lane_of(struct cache_lane *lane)
{
	return (struct triton_lane *)lane;
}

/*
 * A look-up or insert in progress. `lookup` and `insert` are for the lane's thread, the rest is for the worker until it
 * has ended the call. References: the lane's, until the call is answered, and the worker's, until it has ended the
 * call.
 */
struct call {
	struct work work; /* first */
	atomic_uint references;
	struct triton_lane *lane;
	struct cache_lookup *lookup;
	struct cache_insert *insert;
	struct blob *value; /* to be stored */
	bool stored;
	size_t count;
	struct named_key *keys;
	TAILQ_ENTRY(call) unanswered_list;
	TAILQ_ENTRY(call) ended_list;
};

/* A key in the form that the plug-in gets, and the result of its look-up. */
struct named_key {
	char *text; /* <scope>:<digest> */
	uint16_t slot;
	struct blob *found;
	bool failed; /* the plug-in returned another error than NOT_FOUND */
};

/* --- Copying, on a worker --- */

struct copying {
	TRITONCACHE_Allocator allocator; /* first */
	struct blob *value;
};

static TRITONSERVER_Error *
failed(const char *message)
{
	return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, message);
}

/*
 * A plug-in may parse what it keeps, as ours do, so an entry is kept as the one output of a response in Triton's
 * packing (plugins/packed.h): u32 1; u64 bytes of what follows; name and datatype, each after its u32 length; u32 8,
 * i64 length; u64 length, and the entry.
 */
struct envelope {
	uint32_t outputs;
	uint64_t record_length;
	uint32_t name_length;
	char name[9];
	uint32_t datatype_length;
	char datatype[5];
	uint32_t shape_length;
	uint64_t shape;
	uint64_t data_length;
} __attribute__((packed));

static struct envelope
envelope_of(size_t length)
{
	return (struct envelope){
		.outputs = 1,
		.record_length = sizeof(struct envelope) - offsetof(struct envelope, name_length) + length,
		.name_length = 9,
		.name = {'h', 'i', 'p', 'p', 'o', 'c', 'a', 'm', 'p'},
		.datatype_length = 5,
		.datatype = {'U', 'I', 'N', 'T', '8'},
		.shape_length = 8,
		.shape = length,
		.data_length = length,
	};
}

static TRITONSERVER_Error *
copy_out(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry)
{
	struct copying *copying = (struct copying *)allocator;
	const struct host_buffer *buffer = &entry->buffers[0];
	size_t size = buffer->attributes.size;
	struct envelope envelope;

	if (entry->count != 1 || size < sizeof(envelope)) {
		return failed("an entry of ours is one buffer, and not so short");
	}
	envelope = envelope_of(size - sizeof(envelope));
	if (memcmp(buffer->base, &envelope, sizeof(envelope)) != 0) {
		return failed("this is no entry of ours");
	}
	if (copying->value != NULL) {
		return failed("the entry was copied already");
	}
	copying->value = blob_copy(bytes_make((const char *)buffer->base + sizeof(envelope), size - sizeof(envelope)));
	return copying->value == NULL ? failed("no memory for the entry") : NULL;
}

static TRITONSERVER_Error *
copy_in(TRITONCACHE_Allocator *allocator, TRITONCACHE_CacheEntry *entry)
{
	const struct blob *value = ((struct copying *)allocator)->value;
	struct envelope envelope = envelope_of(value->length);
	char *base = entry->buffers[0].base;

	if (entry->count != 1 || base == NULL ||
	    entry->buffers[0].attributes.size != sizeof(envelope) + value->length) {
		return failed("the entry's buffer has no memory, or another size than it was given");
	}
	memcpy(base, &envelope, sizeof(envelope));
	memcpy(base + sizeof(envelope), value->data, value->length);
	return NULL;
}

/* --- Calls of the plug-in, on a worker --- */

/* False where there is no memory. */
static bool
key_text(struct triton_cache *cache, const struct named_key *key, char **text)
{
	uint32_t turn = atomic_load_explicit(&cache->turns[key->slot], memory_order_relaxed);

	return asprintf(text, turn == 0 ? "%s" : "%s.%u", key->text, turn) >= 0;
}

static void
look_up(struct triton_cache *cache, struct named_key *key)
{
	struct copying copying = {.allocator.copy = copy_out};
	TRITONCACHE_CacheEntry entry = {.count = 0};
	TRITONSERVER_Error *error;
	char *text;

	if (!key_text(cache, key, &text)) {
		return;
	}
	error = cache->plugin.lookup(cache->opened, text, &entry, &copying.allocator);
	free(text);
	if (error != NULL) {
		key->failed = TRITONSERVER_ErrorCode(error) != TRITONSERVER_ERROR_NOT_FOUND;
		TRITONSERVER_ErrorDelete(error);
		blob_unref(copying.value);
		return;
	}
	key->found = copying.value; /* NULL: the plug-in reported a hit, but copied nothing */
}

static TRITONSERVER_Error *
store(struct triton_cache *cache, const struct named_key *key, struct blob *value)
{
	struct copying copying = {.allocator.copy = copy_in, .value = value};
	TRITONCACHE_CacheEntry entry = {.buffers = {{.attributes.size = sizeof(struct envelope) + value->length}},
					.count = 1};
	TRITONSERVER_Error *error;
	char *text;

	if (!key_text(cache, key, &text)) {
		return failed("no memory for the key");
	}
	error = cache->plugin.insert(cache->opened, text, &entry, &copying.allocator);
	free(text);
	return error;
}

/* A key is stored again only when its old entry is not usable any more, so that entry must not stay. */
static bool
store_newer(struct triton_cache *cache, const struct named_key *key, struct blob *value)
{
	TRITONSERVER_Error *error = store(cache, key, value);

	if (error != NULL && TRITONSERVER_ErrorCode(error) == TRITONSERVER_ERROR_ALREADY_EXISTS) {
		TRITONSERVER_ErrorDelete(error);
		(void)atomic_fetch_add(&cache->turns[key->slot], 1);
		error = store(cache, key, value);
	}
	if (error != NULL) {
		TRITONSERVER_ErrorDelete(error);
		return false;
	}
	return true;
}

static void lane_unref(struct triton_lane *lane);

static void
free_call(struct call *call)
{
	for (size_t i = 0; i < call->count; i++) {
		free(call->keys[i].text);
		blob_unref(call->keys[i].found);
	}
	free(call->keys);
	if (call->value != NULL) {
		(void)atomic_fetch_sub(&call->lane->cache->insert_bytes, call->value->length);
		blob_unref(call->value);
	}
	lane_unref(call->lane);
	free(call);
}

static void
call_unref(struct call *call)
{
	if (atomic_fetch_sub(&call->references, 1) == 1) {
		free_call(call);
	}
}

static void
end_call(struct call *call)
{
	struct triton_lane *lane = call->lane;

	(void)pthread_mutex_lock(&lane->mutex);
	if (!lane->detached) {
		TAILQ_INSERT_TAIL(&lane->ended, call, ended_list);
		(void)eventfd_write(lane->wake_fd, 1);
	}
	(void)pthread_mutex_unlock(&lane->mutex);
	call_unref(call);
}

static void
run_call(struct work *work, bool cancelled)
{
	struct call *call = (struct call *)work;
	struct triton_cache *cache = call->lane->cache;

	if (call->value != NULL) {
		call->stored = !cancelled && store_newer(cache, &call->keys[0], call->value);
	}
	for (size_t i = 0; i < call->count && call->value == NULL && !cancelled; i++) {
		look_up(cache, &call->keys[i]);
	}
	end_call(call);
}

/* --- Answering, on the lane's thread --- */

static void
answer_lookup(struct call *call)
{
	struct cache_lookup *lookup = call->lookup;

	for (size_t i = 0; i < call->count; i++) {
		lookup->values[i] = call->keys[i].found;
		call->keys[i].found = NULL;
		lookup->failed = lookup->failed || call->keys[i].failed;
		counter_add(&call->lane->cache->hits,
			    lookup->values[i] != NULL && lookup->counted != CACHE_COUNT_NOTHING);
		counter_add(&call->lane->cache->failures, call->keys[i].failed);
	}
	call_unref(call);
	lookup->done(lookup);
}

static void
answer_insert(struct call *call)
{
	struct cache_insert *insert = call->insert;
	struct triton_cache *cache = call->lane->cache;

	counter_add(call->stored ? &cache->inserts : &cache->dropped, 1);
	call_unref(call);
	insert->done(insert);
}

static void
answer(struct call *call)
{
	TAILQ_REMOVE(&call->lane->unanswered, call, unanswered_list);
	if (call->lookup != NULL) {
		answer_lookup(call);
	} else {
		answer_insert(call);
	}
}

static struct call *
next_ended(struct triton_lane *lane)
{
	struct call *call;

	(void)pthread_mutex_lock(&lane->mutex);
	call = TAILQ_FIRST(&lane->ended);
	if (call != NULL) {
		TAILQ_REMOVE(&lane->ended, call, ended_list);
	}
	(void)pthread_mutex_unlock(&lane->mutex);
	return call;
}

static void
answer_ended(struct triton_lane *lane)
{
	struct call *call;

	while ((call = next_ended(lane)) != NULL) {
		answer(call);
	}
}

static void
triton_catch_up(struct cache_lane *base)
{
	answer_ended(lane_of(base));
}

static void
on_wake(void *argument, unsigned events)
{
	struct triton_lane *lane = argument;
	eventfd_t value;

	(void)events;
	(void)eventfd_read(lane->wake_fd, &value);
	answer_ended(lane);
}

/* --- Asking, on the lane's thread --- */

static bool
name_key(const struct cache_key *key, struct named_key *named)
{
	char hex[2 * DIGEST_SIZE_MAX + 1];

	hex_text(bytes_make(key->digest.bytes, key->digest.length), hex);
	memcpy(&named->slot, key->digest.bytes, sizeof(named->slot));
	named->slot %= TURNS;
	if (asprintf(&named->text, "%.*s:%s", (int)key->scope.length, (const char *)key->scope.at, hex) < 0) {
		named->text = NULL;
	}
	return named->text != NULL;
}

/* NULL where there is no memory. */
static struct call *
new_call(struct triton_lane *lane, const struct cache_key *keys, size_t count)
{
	struct call *call = calloc(1, sizeof(*call));
	bool good = call != NULL;

	if (!good) {
		return NULL;
	}
	*call = (struct call){.work.run = run_call, .lane = lane, .keys = calloc(count, sizeof(*call->keys))};
	atomic_init(&call->references, 2);
	(void)atomic_fetch_add(&lane->references, 1);
	good = call->keys != NULL;
	while (good && call->count < count) {
		good = name_key(&keys[call->count], &call->keys[call->count]);
		call->count++;
	}
	if (!good) {
		free_call(call);
		return NULL;
	}
	return call;
}

static bool
submit(struct call *call, bool urgent)
{
	struct triton_lane *lane = call->lane;

	TAILQ_INSERT_TAIL(&lane->unanswered, call, unanswered_list);
	if (workers_add(lane->cache->workers, &call->work, urgent)) {
		return true;
	}
	TAILQ_REMOVE(&lane->unanswered, call, unanswered_list);
	free_call(call);
	return false;
}

static bool
triton_lookup(struct cache_lane *base, struct cache_lookup *lookup)
{
	struct triton_lane *lane = lane_of(base);
	struct call *call = new_call(lane, lookup->keys, lookup->count);

	counter_add(&lane->cache->lookups, lookup->counted == CACHE_COUNT_ALL ? lookup->count : 0);
	if (call != NULL) {
		call->lookup = lookup;
	}
	if (call == NULL || !submit(call, true)) {
		counter_add(&lane->cache->failures, lookup->count);
		lookup->failed = true;
		return true;
	}
	return false;
}

static bool
triton_insert(struct cache_lane *base, struct cache_insert *insert)
{
	struct triton_lane *lane = lane_of(base);
	struct triton_cache *cache = lane->cache;
	size_t length = insert->value->length;
	struct call *call =
		atomic_load(&cache->insert_bytes) + length > INSERT_BYTES_MAX ? NULL : new_call(lane, insert->key, 1);

	if (call == NULL) {
		counter_add(&cache->dropped, 1);
		return true;
	}
	(void)atomic_fetch_add(&cache->insert_bytes, length);
	call->insert = insert;
	call->value = blob_ref(insert->value);
	(void)submit(call, false); /* cannot fail: only urgent work is bounded */
	return false;
}

/* --- Lanes --- */

static void
lane_unref(struct triton_lane *lane)
{
	if (atomic_fetch_sub(&lane->references, 1) == 1) {
		(void)pthread_mutex_destroy(&lane->mutex);
		free(lane);
	}
}

static struct cache_lane *
triton_attach(struct cache *base, const struct cache_host *host)
{
	struct triton_cache *cache = cache_of(base);
	struct triton_lane *lane = calloc(1, sizeof(*lane));

	if (lane == NULL) {
		return NULL;
	}
	atomic_init(&lane->references, 1);
	lane->cache = cache;
	lane->host = host;
	TAILQ_INIT(&lane->unanswered);
	TAILQ_INIT(&lane->ended);
	(void)pthread_mutex_init(&lane->mutex, NULL);
	lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	lane->watch = lane->wake_fd < 0 ? NULL : host->watch_new(host->context, lane->wake_fd, on_wake, lane);
	if (lane->watch == NULL) {
		if (lane->wake_fd >= 0) {
			(void)close(lane->wake_fd);
		}
		lane_unref(lane);
		return NULL;
	}
	host->watch_set(lane->watch, CACHE_READ);
	return (struct cache_lane *)lane;
}

/* Answers all calls as failed. The workers still finish the calls that they have, without an answer. */
static void
give_up(struct triton_lane *lane)
{
	struct call *call;

	while ((call = TAILQ_FIRST(&lane->unanswered)) != NULL) {
		struct cache_lookup *lookup = call->lookup;
		struct cache_insert *insert = call->insert;

		TAILQ_REMOVE(&lane->unanswered, call, unanswered_list);
		call_unref(call);
		if (lookup != NULL) {
			counter_add(&lane->cache->failures, lookup->count);
			lookup->failed = true;
			lookup->done(lookup);
		} else {
			counter_add(&lane->cache->dropped, 1);
			insert->done(insert);
		}
	}
}

static void
triton_detach(struct cache_lane *base)
{
	struct triton_lane *lane = lane_of(base);

	answer_ended(lane);
	(void)pthread_mutex_lock(&lane->mutex);
	lane->detached = true;
	(void)pthread_mutex_unlock(&lane->mutex);
	answer_ended(lane); /* calls that ended in between */
	give_up(lane);
	lane->host->watch_free(lane->watch);
	(void)close(lane->wake_fd);
	lane_unref(lane);
}

/* --- The store --- */

static enum status
initialize(struct triton_cache *cache, struct error *error)
{
	TRITONSERVER_Error *refusal = cache->plugin.initialize(&cache->opened, (const char *)made.configuration.at);

	explicit_bzero(made.configuration.at, made.configuration.length); /* there may be passwords */
	if (refusal != NULL) {
		(void)error_set(error, -(enum status)(TRITONSERVER_ErrorCode(refusal) + 1), "%s",
				TRITONSERVER_ErrorMessage(refusal));
		TRITONSERVER_ErrorDelete(refusal);
		cache->opened = NULL;
		return error->status;
	}
	if (cache->opened == NULL) {
		return error_set(error, STATUS_INTERNAL, "Failed to initialize cache implementation");
	}
	return STATUS_OK;
}

static void
finish(struct triton_cache *cache)
{
	TRITONSERVER_Error *error;

	if (cache->workers != NULL && !workers_stop(cache->workers, END_TIMEOUT_MS)) {
		return; /* the plug-in hangs: all that it may still use stays until the process ends */
	}
	if (cache->opened != NULL) {
		error = cache->plugin.finalize(cache->opened);
		if (error != NULL) {
			TRITONSERVER_ErrorDelete(error);
		}
	}
	host_plugin_close(&cache->plugin);
	buf_fini(&made.configuration);
	free(cache);
}

static void
triton_close(struct cache *base)
{
	finish(cache_of(base));
}

static struct cache *
triton_open(void *settings, bool secret_wanted, struct error *error)
{
	struct triton_cache *cache = calloc(1, sizeof(*cache));
	const char *wrong;

	(void)secret_wanted;
	free(settings);
	if (cache == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the cache");
		return NULL;
	}
	host_open_stub();
	wrong = host_plugin_open(made.path, &cache->plugin);
	if (wrong != NULL) {
		(void)error_set(error, STATUS_INTERNAL, "unable to load shared library: %s", wrong);
	} else if (initialize(cache, error) == STATUS_OK) {
		cache->workers = workers_new(WORKERS, LOOKUPS_MAX);
		if (cache->workers == NULL) {
			(void)error_set(error, STATUS_UNAVAILABLE, "no memory or no threads for the cache");
		}
	}
	if (cache->workers == NULL) {
		(void)error_prefix(error, "cache '%s' of '%s': ", made.ops.name, made.path);
		finish(cache);
		return NULL;
	}
	return (struct cache *)cache;
}

static void
triton_statistics(struct cache *base, struct cache_statistics *statistics)
{
	struct triton_cache *cache = cache_of(base);

	*statistics = (struct cache_statistics){
		.lookups = counter_read(&cache->lookups),
		.hits = counter_read(&cache->hits),
		.failures = counter_read(&cache->failures),
		.inserts = counter_read(&cache->inserts),
		.dropped = counter_read(&cache->dropped),
	};
}

static void
triton_metrics(struct cache *base, const struct metric_sink *sink)
{
	struct triton_cache *cache = cache_of(base);

	(void)cache;
	host_metrics(sink);
}

static void
triton_describe(struct cache *base, char *text, size_t size)
{
	struct triton_cache *cache = cache_of(base);

	(void)cache;
	(void)snprintf(text, size, "%s, plug-in %s", made.ops.name, made.path);
}

/* --- The table --- */

static bool
write_configuration(const struct triton_option *options, size_t count)
{
	struct buf *out = &made.configuration;

	buf_init(out, CONFIGURATION_MAX);
	buf_byte(out, '{');
	for (size_t i = 0; i < count; i++) {
		if (i > 0) {
			buf_byte(out, ',');
		}
		buf_json_string(out, bytes_text(options[i].key));
		buf_byte(out, ':');
		buf_json_string(out, bytes_text(options[i].value));
	}
	buf_byte(out, '}');
	buf_byte(out, '\0');
	return buf_ok(out);
}

const struct cache_ops *
cache_triton_ops(const char *name, const char *path, const struct triton_option *options, size_t count)
{
	made.path = path;
	made.ops = (struct cache_ops){
		.name = name,
		.untrusted = true,
		.settings_size = 1,
		.open = triton_open,
		.close = triton_close,
		.attach = triton_attach,
		.detach = triton_detach,
		.lookup = triton_lookup,
		.catch_up = triton_catch_up,
		.insert = triton_insert,
		.statistics = triton_statistics,
		.metrics = triton_metrics,
		.describe = triton_describe,
	};
	return write_configuration(options, count) ? &made.ops : NULL;
}
