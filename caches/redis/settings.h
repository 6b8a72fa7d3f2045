/*
 * What `--cache-config redis,…` sets. Names that NVIDIA's Redis cache has mean what they mean there, except that no
 * time-out is ever infinite.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_SETTINGS_H
#define HIPPOCAMP_CACHES_REDIS_SETTINGS_H

#include "base/option.h"

struct redis_settings {
	char *host;
	int64_t port;
	char *user;
	char *password;
	int64_t db;
	int64_t connect_timeout_ms;
	int64_t socket_timeout_ms;
	int64_t pool_size;
	int64_t wait_timeout_ms;
	char *key_prefix;
	int64_t write_behind_bytes;
};

extern const struct option_table redis_options;

/* Fills user and password from the environment where the options left them out, and checks what is required. */
enum status redis_settings_complete(struct redis_settings *settings, struct error *error);

#endif
