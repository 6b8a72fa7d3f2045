#include "caches/redis/redis.h"

#include "base/clock.h"
#include "base/metric.h"
#include "caches/redis/command.h"
#include "caches/redis/connection.h"
#include "caches/redis/purge.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define COMMAND_MAX ((size_t)1 << 30)
#define COMMAND_KEPT ((size_t)1 << 20)
#define DAY_S 86400
#define REFUSAL_LOG_INTERVAL_NS UINT64_C(60000000000)

struct cache {
	struct redis_settings *settings;
	bool secret_wanted;
	_Atomic bool announcer_taken;
	counter lookups;
	counter hits;
	counter failures;
	counter inserts;
	counter dropped;
	counter connections;
	_Atomic uint64_t refusal_logged_ns;
};

struct cache_lane {
	struct cache *cache;
	const struct cache_host *host;
	struct redis_connection **connections;
	size_t next; /* round robin */
	bool secret_known;
	struct cache_secret secret;
	uint64_t insert_bytes; /* on their way */
	struct buf command;
};

/* --- Lanes --- */

static void
on_secret(void *context, struct bytes secret)
{
	struct cache_lane *lane = context;

	if (secret.length == sizeof(lane->secret.bytes) &&
	    (!lane->secret_known || memcmp(lane->secret.bytes, secret.at, secret.length) != 0)) {
		memcpy(lane->secret.bytes, secret.at, secret.length);
		lane->secret.generation++;
		lane->secret_known = true;
	}
}

static void
on_ready(void *context, struct bytes secret)
{
	struct cache_lane *lane = context;

	counter_add(&lane->cache->connections, 1);
	on_secret(lane, secret);
}

static void
on_lost(void *context)
{
	struct cache_lane *lane = context;

	counter_add(&lane->cache->connections, (uint64_t)-1);
}

static void
redis_detach(struct cache_lane *lane)
{
	for (int64_t i = 0; i < lane->cache->settings->pool_size; i++) {
		if (lane->connections[i] != NULL) {
			redis_connection_free(lane->connections[i]);
		}
	}
	free(lane->connections);
	buf_fini(&lane->command);
	free(lane);
}

static struct cache_lane *
redis_attach(struct cache *cache, const struct cache_host *host)
{
	struct cache_lane *lane = calloc(1, sizeof(*lane));
	struct redis_connection_options options = {
		.settings = cache->settings,
		.host = host,
		.secret_wanted = cache->secret_wanted,
		.announces = !atomic_exchange(&cache->announcer_taken, true),
		.context = lane,
		.ready = on_ready,
		.secret_changed = on_secret,
		.lost = on_lost,
	};

	if (lane == NULL) {
		return NULL;
	}
	lane->cache = cache;
	lane->host = host;
	buf_init(&lane->command, COMMAND_MAX);
	lane->connections = calloc((size_t)cache->settings->pool_size, sizeof(struct redis_connection *));
	if (lane->connections == NULL) {
		free(lane);
		return NULL;
	}
	for (int64_t i = 0; i < cache->settings->pool_size; i++) {
		lane->connections[i] = redis_connection_new(&options);
		options.announces = false;
	}
	return lane;
}

static struct redis_connection *
pick(struct cache_lane *lane)
{
	size_t count = (size_t)lane->cache->settings->pool_size;

	for (size_t i = 0; i < count; i++) {
		struct redis_connection *connection = lane->connections[lane->next++ % count];

		if (connection != NULL && redis_connection_usable(connection)) {
			return connection;
		}
	}
	return NULL;
}

static const struct cache_secret *
redis_secret(struct cache_lane *lane)
{
	return lane->secret_known ? &lane->secret : NULL;
}

/* --- Commands --- */

/* <prefix>:<scope>:<digest> */
static void
append_key(struct cache_lane *lane, const struct cache_key *key)
{
	struct bytes prefix = bytes_text(lane->cache->settings->key_prefix);
	char hex[2 * DIGEST_SIZE_MAX + 1];

	hex_text(bytes_make(key->digest.bytes, key->digest.length), hex);
	buf_byte(&lane->command, '$');
	buf_unsigned(&lane->command, prefix.length + 1 + key->scope.length + 1 + 2U * key->digest.length);
	buf_text(&lane->command, "\r\n");
	buf_append(&lane->command, prefix);
	buf_byte(&lane->command, ':');
	buf_append(&lane->command, key->scope);
	buf_byte(&lane->command, ':');
	buf_text(&lane->command, hex);
	buf_text(&lane->command, "\r\n");
}

/* An answered error from Redis: counted by the caller, said at most once a minute. */
static void
log_refusal(struct cache_lane *lane, const char *what, const char *text)
{
	uint64_t now = clock_now_ns();
	uint64_t last = atomic_load(&lane->cache->refusal_logged_ns);
	char line[512];

	if (last != 0 && now - last < REFUSAL_LOG_INTERVAL_NS) {
		return;
	}
	if (atomic_compare_exchange_strong(&lane->cache->refusal_logged_ns, &last, now)) {
		(void)snprintf(line, sizeof(line),
			       "cache 'redis': the server refuses to %s: %s (said at most once a minute)", what, text);
		lane->host->log(LOG_WARNING, line);
	}
}

static void
redis_distrust(struct cache_lane *lane)
{
	for (int64_t i = 0; i < lane->cache->settings->pool_size; i++) {
		if (lane->connections[i] != NULL) {
			redis_connection_reset(lane->connections[i], "an answer that belongs to another question");
		}
	}
}

/* One GET of a look-up: which of its keys it is, is told by the address of the value's slot. */
struct get {
	struct cache_lookup *lookup;
	size_t index;
};

static void
on_value(void *context, const struct redis_reply *reply, void *argument)
{
	struct cache_lane *lane = context;
	struct get *get = argument;
	struct cache_lookup *lookup = get->lookup;

	if (reply == NULL) {
		lookup->failed = true;
		counter_add(&lane->cache->failures, 1);
	} else if (reply->base.type == VALKEY_REPLY_STRING) {
		lookup->values[get->index] = blob_ref(reply->blob);
		counter_add(&lane->cache->hits, 1);
	} else if (reply->base.type == VALKEY_REPLY_ERROR) {
		lookup->failed = true;
		counter_add(&lane->cache->failures, 1);
		log_refusal(lane, "look up", reply->base.str);
	} else if (reply->base.type != VALKEY_REPLY_NIL) {
		lookup->failed = true;
		counter_add(&lane->cache->failures, 1);
		redis_distrust(lane);
	}
	free(get);
	if (--lookup->unanswered == 0) {
		lookup->done(lookup);
	}
}

static bool
send_get(struct cache_lane *lane, struct redis_connection *connection, struct cache_lookup *lookup, size_t index)
{
	struct get *get = malloc(sizeof(*get));

	if (get == NULL) {
		return false;
	}
	*get = (struct get){.lookup = lookup, .index = index};
	buf_clear(&lane->command);
	buf_text(&lane->command, "*2\r\n$3\r\nGET\r\n");
	append_key(lane, &lookup->keys[index]);
	if (!buf_ok(&lane->command) || !redis_connection_send(connection, buf_bytes(&lane->command), on_value, get)) {
		free(get);
		return false;
	}
	return true;
}

static bool
redis_lookup(struct cache_lane *lane, struct cache_lookup *lookup)
{
	struct redis_connection *connection = pick(lane);

	counter_add(&lane->cache->lookups, lookup->count);
	lookup->unanswered = 0;
	for (size_t i = 0; i < lookup->count; i++) {
		if (connection != NULL && send_get(lane, connection, lookup, i)) {
			lookup->unanswered++;
		} else {
			lookup->failed = true;
			counter_add(&lane->cache->failures, 1);
		}
	}
	return lookup->unanswered == 0;
}

static void
on_stored(void *context, const struct redis_reply *reply, void *argument)
{
	struct cache_lane *lane = context;
	struct cache_insert *insert = argument;

	lane->insert_bytes -= insert->value->length;
	if (reply != NULL && reply->base.type != VALKEY_REPLY_ERROR) {
		counter_add(&lane->cache->inserts, 1);
	} else {
		counter_add(&lane->cache->dropped, 1);
		if (reply != NULL) {
			log_refusal(lane, "store", reply->base.str);
		}
	}
	insert->done(insert);
}

static void
write_set(struct cache_lane *lane, const struct cache_insert *insert)
{
	char ttl[24];

	buf_clear(&lane->command);
	buf_text(&lane->command, insert->ttl_ms == 0 ? "*3\r\n$3\r\nSET\r\n" : "*5\r\n$3\r\nSET\r\n");
	append_key(lane, insert->key);
	command_append(&lane->command, blob_bytes(insert->value));
	if (insert->ttl_ms != 0) {
		(void)snprintf(ttl, sizeof(ttl), "%" PRIu64, insert->ttl_ms);
		command_append(&lane->command, bytes_text("PX"));
		command_append(&lane->command, bytes_text(ttl));
	}
}

static bool
redis_insert(struct cache_lane *lane, struct cache_insert *insert)
{
	struct redis_connection *connection = pick(lane);
	size_t length = insert->value->length;
	bool sent = false;

	if (connection != NULL && lane->insert_bytes + length <= (uint64_t)lane->cache->settings->write_behind_bytes) {
		write_set(lane, insert);
		sent = buf_ok(&lane->command) &&
		       redis_connection_send(connection, buf_bytes(&lane->command), on_stored, insert);
	}
	if (sent) {
		lane->insert_bytes += length;
	} else {
		counter_add(&lane->cache->dropped, 1);
	}
	if (lane->command.capacity > COMMAND_KEPT) {
		buf_fini(&lane->command);
		buf_init(&lane->command, COMMAND_MAX);
	}
	return !sent;
}

static bool
redis_purge(struct cache_lane *lane, struct cache_purge *purge)
{
	struct redis_connection *connection = pick(lane);

	purge->removed = 0;
	purge->failed = connection == NULL || !purge_start(connection, lane->cache->settings, purge);
	return purge->failed;
}

/* --- The store --- */

static void
free_settings(struct redis_settings *settings)
{
	option_fini(redis_options, settings);
	free(settings);
}

static struct cache *
redis_open(void *given, bool secret_wanted, struct error *error)
{
	struct redis_settings *settings = given;
	struct cache *cache = NULL;

	if (redis_settings_complete(settings, error) == STATUS_OK) {
		cache = calloc(1, sizeof(*cache));
		if (cache == NULL) {
			(void)error_set(error, STATUS_UNAVAILABLE, "no memory for the redis cache");
		}
	}
	if (cache == NULL) {
		free_settings(settings);
		return NULL;
	}
	cache->settings = settings;
	cache->secret_wanted = secret_wanted;
	return cache;
}

static void
redis_close(struct cache *cache)
{
	free_settings(cache->settings);
	free(cache);
}

static void
redis_statistics(struct cache *cache, struct cache_statistics *statistics)
{
	*statistics = (struct cache_statistics){
		.lookups = counter_read(&cache->lookups),
		.hits = counter_read(&cache->hits),
		.failures = counter_read(&cache->failures),
		.inserts = counter_read(&cache->inserts),
		.dropped = counter_read(&cache->dropped),
		.connections = counter_read(&cache->connections),
	};
}

static void
redis_describe(struct cache *cache, char *text, size_t size)
{
	(void)snprintf(text, size, "redis at %s:%lld", cache->settings->host, (long long)cache->settings->port);
}

const struct cache_ops cache_redis_ops = {
	.name = "redis",
	.foreign = true,
	.default_ttl_s = DAY_S,
	.options = &redis_options,
	.settings_size = sizeof(struct redis_settings),
	.open = redis_open,
	.close = redis_close,
	.attach = redis_attach,
	.detach = redis_detach,
	.secret = redis_secret,
	.lookup = redis_lookup,
	.insert = redis_insert,
	.purge = redis_purge,
	.distrust = redis_distrust,
	.statistics = redis_statistics,
	.describe = redis_describe,
};
