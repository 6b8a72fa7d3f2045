/*
 * Addresses of Redis servers, as people write them and as Redis names them in redirections and messages.
 *
 * Every function that makes an address checks it: a network host is 1 to 255 printable ASCII characters without blanks,
 * '/', '[' and ']'; its port is 1 to 65535. Nothing that a server sends can thus become the path of a socket. A
 * function that returns false has changed nothing.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_ADDRESS_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_ADDRESS_H

#include "base/bytes.h"

#define REDIS_SLOT_COUNT 16384
#define REDIS_ADDRESS_TEXT_SIZE 272 /* holds whatever redis_address_print writes */

struct redis_address {
	char host[256]; /* a name, an IP literal without brackets, or the path of a Unix socket, from '/' on */
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

/* Makes an address of a network host and its port: a number, or a text, as Redis writes it in bulk strings. */
bool redis_address_make(struct bytes host, int64_t port, struct redis_address *address);
bool redis_address_make_text(struct bytes host, struct bytes port, struct redis_address *address);

/*
 * Reads "host", "host:port", "[::1]:6379", "[::1]", or "::1" (with more than one colon and no bracket, all is host), or
 * the absolute path of a Unix socket, as long as the system allows (107 bytes).
 */
bool redis_address_read(struct bytes text, uint16_t default_port, struct redis_address *address);

/* Writes "host:port", "[v6]:port" or the path, which redis_address_read can read. */
void redis_address_print(const struct redis_address *address, char *text, size_t size);

enum redis_redirect {
	REDIS_REDIRECT_MOVED,
	REDIS_REDIRECT_ASK,
};

/*
 * Reads the error "MOVED 3999 127.0.0.1:6381" or "ASK …". An empty host stands for the one that was `asked`. Returns
 * false for another text, or if Redis does not know the host itself ("?").
 */
bool redis_redirect_read(struct bytes error_text, enum redis_redirect *kind, uint16_t *slot,
			 struct redis_address *address, const struct redis_address *asked);

/*
 * Reads a message that Sentinel publishes as "+switch-master": "<name> <old ip> <old port> <new ip> <new port>".
 * Returns false for messages about other masters, too.
 */
bool redis_switch_master_read(struct bytes message, struct bytes name, struct redis_address *now);

#endif
