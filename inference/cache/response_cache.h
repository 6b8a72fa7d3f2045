/*
 * The response cache of a deployment: a store, and the settings that all stores have in common (secret, namespace, TTL,
 * look-up timeout). Configured with `--cache-config <store>,<key>=<value>`.
 */
#ifndef HIPPOCAMP_INFERENCE_CACHE_RESPONSE_CACHE_H
#define HIPPOCAMP_INFERENCE_CACHE_RESPONSE_CACHE_H

#include "base/keyed_hash.h"
#include "caches/cache.h"
#include "inference/cache/cache_policy.h"
#include "inference/cache/purge_marks.h"

/* Whether equal concurrent questions run once per process or per shared store. */
enum cache_coalescing { COALESCE_PROCESS, COALESCE_SHARED };

struct response_cache_settings {
	char *key_secret;
	char *key_secret_file;
	int key_hash; /* enum keyed_hash_kind */
	char *name_space;
	int64_t lookup_timeout_ms; /* 0: derived from the cost of the model's run */
	int coalesce;		   /* enum cache_coalescing */
	int64_t max_value_bytes;   /* 0: no limit */
	struct cache_policy policy;
};

extern const struct option_table response_cache_options;

/* The keys derived from the secret: one for each use, different for each kind of hash. */
struct response_cache_keys {
	struct keyed_hash_key lookup; /* for the keys of entries */
	struct keyed_hash_key entry;  /* for the MACs of entries */
};

void response_cache_keys_derive(struct response_cache_keys *keys, enum keyed_hash_kind kind, struct bytes secret);

struct response_cache {
	const struct cache_ops *ops;
	struct cache *store;
	struct response_cache_settings settings;
	struct buf configuration; /* a JSON object of the settings, without secrets */
	bool has_secret;	  /* configured or drawn here; else the store provides it */
	struct response_cache_keys keys;
	struct purge_marks purges; /* made by this process, or seen by it */
};

/* One `key=value` of the configuration. */
struct response_cache_setting {
	const char *key;
	const char *value;
};

/* An error names the key and, if the key is unknown, lists the valid ones. */
struct response_cache *response_cache_open(const struct cache_ops *ops, const struct response_cache_setting *settings,
					   size_t count, struct error *error);
void response_cache_close(struct response_cache *cache);

#endif
