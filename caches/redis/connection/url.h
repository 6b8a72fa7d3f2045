/*
 * What one URL says of a Redis:
 *
 *	redis://[USER:PASSWORD@]HOST[:PORT][/DB]
 *	unix://[USER:PASSWORD@]/PATH[?db=DB], redis+unix://
 *	redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST…]/MASTER[/DB][?sentinel_username=…&sentinel_password=…]
 *	redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST…][/DB]
 *
 * `valkey` stands for `redis` as well; with an `s` behind (rediss, valkeys) it is TLS; `?db=DB` works with all.
 * Names and passwords are percent-encoded, the query's values may have + for a blank. A name without colon before the @
 * is the user. Messages show nothing that may be part of a password.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_URL_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_URL_H

#include "base/status.h"
#include "caches/redis/connection/address.h"

#define REDIS_PORT 6379
#define REDIS_SENTINEL_PORT 26379

enum redis_topology {
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

/* Texts are NULL where the URL says nothing, or nothing but "". */
struct redis_url {
	enum redis_topology topology;
	bool tls;
	char *user;
	char *password;
	int64_t db; /* -1: not said */
	struct redis_seeds seeds;
	char *master; /* name of what the sentinels watch */
	char *sentinel_user;
	char *sentinel_password;
};

/* `url` needs redis_url_fini afterwards in any case. */
enum status redis_url_read(const char *text, struct redis_url *url, struct error *error);
void redis_url_fini(struct redis_url *url);

/* Reads HOST[:PORT], several with ; or , between them. False where one is none, or memory is short. */
bool redis_seeds_read(struct bytes text, uint16_t default_port, struct redis_seeds *seeds);

/* The one seed that is a Unix socket. False where `path` is not absolute, or too long for a socket. */
bool redis_seeds_socket(const char *path, struct redis_seeds *seeds);

/* Overwrites a secret before it is freed; NULL is none. */
void redis_secret_free(char *secret);

#endif
