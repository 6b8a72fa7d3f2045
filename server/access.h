/*
 * Access control for the cache's status and purge. By default both need a port that listens on a loopback address (but
 * not the status on the metrics port); --allow-cache-admin opens them to all clients, or to none. Web pages are
 * refused, although a browser on the same machine would carry their requests here: pages of another origin (CSRF) and,
 * where Host is checked, pages whose own host name resolves to this server (DNS rebinding). Room-private.
 */
#ifndef HIPPOCAMP_SERVER_ACCESS_H
#define HIPPOCAMP_SERVER_ACCESS_H

#include "server/exchange.h"

/* May the request purge or read the cache? False: the refusal has been replied. */
bool access_cache_admin(struct exchange *exchange);

/* May the request read the cache's status on the metrics port? As above, but from any address and with any Host. */
bool access_cache_view(struct exchange *exchange);

/*
 * Returns false if the fields Host and Origin show that a foreign web page sent the request. `name` is the address that
 * the server is configured to listen on, `machine` its machine's name. `any_host` accepts every Host in a request
 * without Origin, that is, with `origin.at` NULL (RFC 6454 section 7).
 */
bool access_is_own(struct bytes host, struct bytes origin, const char *name, const char *machine, bool any_host);

#endif
