#include "inference/cache/response_cache.h"

#include "base/memory.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>

#define AT(field) offsetof(struct response_cache_settings, field)
#define RANDOM_SECRET 32

static const char *const hashes[] = {"ghash", "sha256", NULL}; /* enum keyed_hash_kind */
static const char *const coalescings[] = {"process", "shared", NULL};

static const struct option options[] = {
	{.name = "key_secret",
	 .kind = OPTION_TEXT,
	 .offset = AT(key_secret),
	 .secret = true,
	 .help = "secret that keys are made under; servers that share entries need the same. Better in the "
		 "environment, " SECRET_ENVIRONMENT ", or in a file. Default: drawn at random, and kept in Redis where "
		 "there is one"},
	{.name = "key_secret_file",
	 .kind = OPTION_TEXT,
	 .offset = AT(key_secret_file),
	 .unit = "FILE",
	 .help = "file that holds the secret"},
	{.name = "key_hash",
	 .kind = OPTION_CHOICE,
	 .offset = AT(key_hash),
	 .preset = "ghash",
	 .choices = hashes,
	 .help = "keyed hash of the keys and entries: ghash (SipHash-2-4-128, behind the polynomial of GCM where the "
		 "question is long) or sha256 (HMAC-SHA-256)"},
	{.name = "namespace",
	 .kind = OPTION_TEXT,
	 .offset = AT(name_space),
	 .preset = "",
	 .help = "servers of different namespaces never share an entry"},
	{.name = "lookup_timeout",
	 .kind = OPTION_INTEGER,
	 .offset = AT(lookup_timeout_ms),
	 .preset = "5",
	 .minimum = 1,
	 .maximum = 60000,
	 .word = "auto",
	 .unit = "ms",
	 .help = "when a look-up takes longer, the model runs; whichever answers first is taken. auto: a quarter of "
		 "what the run usually costs, but no less than 1 ms, which is as fine as timers go, and no more than "
		 "100 ms, past which the store is in trouble; 5 ms until a run has been measured"},
	{.name = "coalesce",
	 .kind = OPTION_CHOICE,
	 .offset = AT(coalesce),
	 .preset = "process",
	 .choices = coalescings,
	 .help = "equal questions at a time run once: process: in each server; shared: in all servers that share the "
		 "store, for models whose run costs more than two look-ups"},
	{.name = "max_value_size",
	 .kind = OPTION_SIZE,
	 .offset = AT(max_value_bytes),
	 .preset = "64MiB",
	 .maximum = INT64_MAX,
	 .unit = "bytes",
	 .help = "larger answers are not stored; 0: no limit"},
};

const struct option_table response_cache_options = {options, sizeof(options) / sizeof(*options)};

static const struct option_table no_options;

static const struct option_table *
store_options(const struct cache_ops *ops)
{
	return ops->options == NULL ? &no_options : ops->options;
}

static enum status
unknown_key(const struct cache_ops *ops, const char *key, struct error *error)
{
	const struct option_table tables[] = {*store_options(ops), response_cache_options, cache_policy_options};
	char who[256];

	(void)snprintf(who, sizeof(who), "cache '%s'", ops->name);
	return option_unknown(who, tables, sizeof(tables) / sizeof(*tables), key, error);
}

static enum status
apply(struct response_cache *cache, void *store_settings, const struct response_cache_setting *setting,
      struct error *error)
{
	const struct {
		struct option_table table;
		void *settings;
	} places[] = {
		{*store_options(cache->ops), store_settings},
		{response_cache_options, &cache->settings},
		{cache_policy_options, &cache->settings.policy},
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		const struct option *option = option_find(places[i].table, bytes_text(setting->key));

		if (option != NULL) {
			enum status status = option_set(option, places[i].settings, setting->value, error);

			return status == STATUS_OK ? status : error_prefix(error, "cache '%s': ", cache->ops->name);
		}
	}
	return unknown_key(cache->ops, setting->key, error);
}

void
response_cache_keys_derive(struct response_cache_keys *keys, enum keyed_hash_kind kind, struct bytes secret)
{
	bool ghash = kind == KEYED_HASH_GHASH;

	keyed_hash_derive(&keys->lookup, secret, ghash ? "hippocamp cache key, ghash" : "hippocamp cache key, sha256");
	keyed_hash_derive(&keys->entry, secret,
			  ghash ? "hippocamp cache entry, ghash" : "hippocamp cache entry, sha256");
}

/* Finds the configured secret; else the store's, or a random one. */
static enum status
find_secret(struct response_cache *cache, struct error *error)
{
	struct secret secret;
	enum status status = secret_find(cache->settings.key_secret, cache->settings.key_secret_file, &secret, error);

	if (status != STATUS_OK) {
		secret_forget(&secret);
		return error_prefix(error, "cache '%s': ", cache->ops->name);
	}
	cache->has_secret = secret.length > 0 || cache->ops->secret == NULL;
	if (cache->has_secret && secret.length == 0) {
		secret.length = RANDOM_SECRET;
		random_bytes(secret.text, secret.length);
	}
	if (cache->has_secret) {
		response_cache_keys_derive(&cache->keys, (enum keyed_hash_kind)cache->settings.key_hash,
					   bytes_make(secret.text, secret.length));
	}
	secret_forget(&secret);
	return STATUS_OK;
}

/* Appends {"name":"value",...: the given values, else the presets, without secrets. */
static void
describe_table(struct response_cache *cache, struct option_table table, const struct response_cache_setting *settings,
	       size_t count)
{
	struct buf *out = &cache->configuration;

	for (size_t i = 0; i < table.count; i++) {
		const char *value = table.options[i].preset;

		for (size_t k = 0; k < count; k++) {
			if (strcmp(settings[k].key, table.options[i].name) == 0) {
				value = settings[k].value;
			}
		}
		if (value != NULL && !table.options[i].secret) {
			buf_byte(out, out->length == 0 ? '{' : ',');
			buf_json_string(out, bytes_text(table.options[i].name));
			buf_byte(out, ':');
			buf_json_string(out, bytes_text(value));
		}
	}
}

static void
describe(struct response_cache *cache, const struct response_cache_setting *settings, size_t count)
{
	buf_init(&cache->configuration, 1 << 20);
	describe_table(cache, *store_options(cache->ops), settings, count);
	describe_table(cache, response_cache_options, settings, count);
	describe_table(cache, cache_policy_options, settings, count);
	buf_byte(&cache->configuration, '}');
}

static enum status
check_coalescing(const struct response_cache *cache, struct error *error)
{
	if (cache->settings.coalesce == COALESCE_SHARED && cache->ops->lease == NULL) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "cache '%s': coalesce=shared needs a store that servers share; leave it at process",
				 cache->ops->name);
	}
	return STATUS_OK;
}

struct response_cache *
response_cache_open(const struct cache_ops *ops, const struct response_cache_setting *settings, size_t count,
		    struct error *error)
{
	struct response_cache *cache = memory_new(sizeof(*cache));
	void *store_settings = memory_new(ops->settings_size);
	enum status status = STATUS_OK;

	cache->ops = ops;
	purge_marks_init(&cache->purges);
	option_presets(response_cache_options, &cache->settings);
	option_presets(cache_policy_options, &cache->settings.policy);
	option_presets(*store_options(ops), store_settings);
	for (size_t i = 0; i < count && status == STATUS_OK; i++) {
		status = apply(cache, store_settings, &settings[i], error);
	}
	if (status == STATUS_OK) {
		status = check_coalescing(cache, error);
	}
	if (status == STATUS_OK) {
		status = find_secret(cache, error);
	}
	if (status != STATUS_OK) {
		option_fini(*store_options(ops), store_settings);
		free(store_settings);
	} else {
		cache->store = ops->open(store_settings, !cache->has_secret, error);
	}
	if (cache->store == NULL) {
		response_cache_close(cache);
		return NULL;
	}
	describe(cache, settings, count);
	if (cache->settings.policy.ttl_s < 0) {
		cache->settings.policy.ttl_s = ops->default_ttl_s;
	}
	return cache;
}

void
response_cache_close(struct response_cache *cache)
{
	if (cache == NULL) {
		return;
	}
	if (cache->store != NULL) {
		cache->ops->close(cache->store);
	}
	purge_marks_fini(&cache->purges);
	buf_fini(&cache->configuration);
	option_fini(response_cache_options, &cache->settings);
	explicit_bzero(&cache->keys, sizeof(cache->keys));
	free(cache);
}
