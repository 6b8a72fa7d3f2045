/*
 * Where a Redis server is: as people write it, and as Redis names it in redirections and messages.
 *
 * Whatever makes an address here checks it: a host of a network is one to 255 printable ASCII characters without '/',
 * '[' and ']', its port is 1 to 65535. Nothing that a server sends thus becomes the path of a socket. Where a function
 * returns false, it has changed nothing.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_ADDRESS_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_ADDRESS_H

#include "base/bytes.h"

#define REDIS_SLOT_COUNT 16384
#define REDIS_ADDRESS_TEXT_SIZE 272 /* holds whatever redis_address_print writes */

struct redis_address {
	char host[256]; /* a name, an IP literal without brackets, or, from '/' on, the path of a Unix socket */
	uint16_t port;	/* 0: a Unix socket */
};

static inline bool
redis_address_equal(const struct redis_address *a, const struct redis_address *b)
{
	return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static inline bool
redis_address_is_path(const struct redis_address *address)
{
	return address->host[0] == '/';
}

/* A host of the network and its port: as a number, and as Redis writes it in bulk strings. */
bool redis_address_make(struct bytes host, int64_t port, struct redis_address *address);
bool redis_address_make_text(struct bytes host, struct bytes port, struct redis_address *address);

/*
 * "host", "host:port", "[::1]:6379", "[::1]", or "::1" (with more than one colon and no bracket, all is host). What
 * begins with '/' is the path of a Unix socket, as long as the system takes one (107 bytes).
 */
bool redis_address_read(struct bytes text, uint16_t default_port, struct redis_address *address);

/* "host:port", "[v6]:port" or the path: what redis_address_read takes. */
void redis_address_print(const struct redis_address *address, char *text, size_t size);

enum redis_redirect {
	REDIS_REDIRECT_MOVED,
	REDIS_REDIRECT_ASK,
};

/*
 * The error "MOVED 3999 127.0.0.1:6381" or "ASK …". An empty host is the one that was `asked`; a host that Redis does
 * not know itself ("?") is no redirection.
 */
bool redis_redirect_read(struct bytes error_text, enum redis_redirect *kind, uint16_t *slot,
			 struct redis_address *address, const struct redis_address *asked);

/*
 * What Sentinel publishes as "+switch-master": "<name> <old ip> <old port> <new ip> <new port>". False for the messages
 * about other masters, too.
 */
bool redis_switch_master_read(struct bytes message, struct bytes name, struct redis_address *now);

#endif
