/*
 * The response cache as one deployment uses it: a store, and what is common to all stores (secret, namespace, TTL,
 * the time that a look-up may take). Configured with `--cache-config <store>,<key>=<value>`.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_RESPONSE_CACHE_H
#define HIPPOCAMP_INFERENCE_CACHE_RESPONSE_CACHE_H

#include "base/keyed_hash.h"
#include "caches/cache.h"
#include "inference/cache/cache_policy.h"
#include "inference/cache/purge_marks.h"

/* Where equal questions that come at a time are run once. */
enum cache_coalescing { COALESCE_PROCESS, COALESCE_SHARED };

struct response_cache_settings {
	char *key_secret;
	char *key_secret_file;
	int key_hash; /* enum keyed_hash_kind */
	char *name_space;
	int64_t lookup_timeout_ms; /* 0: by what the model's run costs */
	int coalesce;		   /* enum cache_coalescing */
	int64_t max_value_bytes;   /* 0: no limit */
	struct cache_policy policy;
};

extern const struct option_table response_cache_options;

/* What the secret becomes: a key for each use, and for each kind of hash. */
struct response_cache_keys {
	struct keyed_hash_key lookup; /* of the keys that answers are kept under */
	struct keyed_hash_key entry;  /* of the MACs of entries */
};

void response_cache_keys_derive(struct response_cache_keys *keys, enum keyed_hash_kind kind, struct bytes secret);

struct response_cache {
	const struct cache_ops *ops;
	struct cache *store;
	struct response_cache_settings settings;
	struct buf configuration; /* a JSON object of the settings, without secrets */
	bool has_secret;	  /* given, or drawn where the store shares none; else the store tells it */
	struct response_cache_keys keys;
	struct purge_marks purges; /* that this process made, or saw others make */
};

/* One `key=value` of the configuration. */
struct response_cache_setting {
	const char *key;
	const char *value;
};

/* Errors name the key, and list what exists where it is unknown. */
struct response_cache *response_cache_open(const struct cache_ops *ops, const struct response_cache_setting *settings,
					   size_t count, struct error *error);
void response_cache_close(struct response_cache *cache);

#endif
