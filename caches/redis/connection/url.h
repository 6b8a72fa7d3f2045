/*
 * URLs that say where a Redis is:
 *
 *	redis://[USER:PASSWORD@]HOST[:PORT][/DB]
 *	unix://[USER:PASSWORD@]/PATH[?db=DB], redis+unix://
 *	redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST…]/MASTER[/DB][?sentinel_username=…&sentinel_password=…]
 *	redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST…][/DB]
 *
 * `valkey` may replace `redis`; with an `s` appended (rediss, valkeys) the URL means TLS; `?db=DB` works with all.
 * Names and passwords are percent-encoded; values in the query may have + for a blank. A name without a colon before
 * the @ is the user. Error messages show nothing that may be part of a password.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_URL_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_URL_H

#include "base/status.h"
#include "caches/redis/connection/address.h"

#define REDIS_PORT 6379
#define REDIS_SENTINEL_PORT 26379

enum redis_topology_kind {
	REDIS_SERVER,	/* one server */
	REDIS_SENTINEL, /* the master that sentinels name */
	REDIS_CLUSTER,
	REDIS_AUTO, /* one server or a cluster, whichever it turns out to be */
};

/* Several addresses, of servers or sentinels; `at` is from malloc. */
struct redis_seeds {
	struct redis_address *at;
	size_t count;
};

/* Texts are NULL if the URL gives none, or "". */
struct redis_url {
	enum redis_topology_kind topology;
	bool tls;
	char *user;
	char *password;
	int64_t db; /* -1: not given */
	struct redis_seeds seeds;
	char *master; /* the name by which the sentinels know the master */
	char *sentinel_user;
	char *sentinel_password;
};

/* Call redis_url_fini afterwards, even on failure. */
enum status redis_url_read(const char *text, struct redis_url *url, struct error *error);
void redis_url_fini(struct redis_url *url);

/* Reads HOST[:PORT], several with ; or , between them. Returns false if one is invalid or memory runs out. */
bool redis_seeds_read(struct bytes text, uint16_t default_port, struct redis_seeds *seeds);

/* Adds the path of a Unix socket as a seed. Returns false if it is not absolute or too long, or memory runs out. */
bool redis_seeds_socket(const char *path, struct redis_seeds *seeds);

/* Overwrites a secret and frees it; NULL is allowed. */
void redis_secret_free(char *secret);

#endif
