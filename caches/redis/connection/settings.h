/*
 * The settings that `--cache-config redis,…` gives. Options that NVIDIA's Redis cache also has mean the same here,
 * except that no time-out is ever infinite. A URL may replace several options; an option beside it may add what the URL
 * leaves out, but must not contradict it.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_SETTINGS_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_SETTINGS_H

#include "base/option.h"
#include "caches/redis/connection/url.h"

enum redis_cluster_choice {
	REDIS_CLUSTER_AUTO, /* detected */
	REDIS_CLUSTER_TRUE,
	REDIS_CLUSTER_FALSE,
};

enum redis_read_from {
	REDIS_READ_PRIMARY,
	REDIS_READ_REPLICA,
	REDIS_READ_PREFER_REPLICA,
	REDIS_READ_NEAREST,
};

enum redis_compression {
	REDIS_COMPRESSION_NONE,
	REDIS_COMPRESSION_LZ4,
	REDIS_COMPRESSION_ZSTD,
	REDIS_COMPRESSION_AUTO,
};

/* Texts are NULL if they are not given. */
struct redis_settings {
	/* As given; the fields at the end are derived from these. */
	char *url;
	char *host;
	char *given_port;
	char *given_db;
	char *given_tls;
	char *sentinels;
	int cluster; /* enum redis_cluster_choice */

	char *user;
	char *password;
	char *password_file;
	char *password_command;
	int64_t password_refresh_s; /* 0: never */
	char *sentinel_master;
	char *sentinel_user;
	char *sentinel_password;
	char *cert;
	char *key;
	char *cacert;
	char *cacert_dir;
	char *sni;
	int tls_verify; /* full, ca, none; in the order of enum redis_tls_verify */
	int read_from;	/* enum redis_read_from */
	char *availability_zone;
	int64_t connect_timeout_ms;
	int64_t socket_timeout_ms;
	int64_t pool_size;
	int64_t wait_timeout_ms;
	char *key_prefix;
	int64_t write_behind_bytes;
	int64_t in_flight_bytes;
	int compression; /* enum redis_compression */
	int64_t compression_level;
	int64_t compression_min_bytes;

	/* Set by redis_settings_complete, from the URL or the options. */
	enum redis_topology_kind topology;
	struct redis_address *seeds; /* servers, or the sentinels */
	size_t seed_count;
	int64_t port; /* of seeds that name none */
	int64_t db;
	bool tls;
};

extern const struct option_table redis_options;

/*
 * Checks the options, reads the URL, and takes user and password from the environment if nothing else gives them. Opens
 * no file.
 */
enum status redis_settings_complete(struct redis_settings *settings, struct error *error);

/* Frees settings from malloc with all they own, and wipes the passwords. */
void redis_settings_free(struct redis_settings *settings);

/* Writes the key <key_prefix>:<name> to `room`, which has REDIS_KEY_ROOM bytes; a key that is too long is cut. */
#define REDIS_KEY_ROOM 1024
struct bytes redis_settings_key(const struct redis_settings *settings, const char *name, char *room);

/* One line for people, without secrets: "redis cluster at a:6379, b:6379, TLS". After redis_settings_complete. */
void redis_settings_describe(const struct redis_settings *settings, char *text, size_t size);

#endif
