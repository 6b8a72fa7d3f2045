/*
 * Who may show and purge the cache: whoever reaches a port whose address is a loopback address, or everybody where the
 * owner says so (--allow-cache-admin). A web page is nobody of those, although a browser on the same machine would
 * carry its requests here: neither from another origin (CSRF) nor under a name of its own that it lets point here (DNS
 * rebinding). Room-private.
 */
#ifndef HIPPOCAMP_SERVER_ACCESS_H
#define HIPPOCAMP_SERVER_ACCESS_H

#include "server/exchange.h"

/* False: refused and answered. */
bool access_cache_admin(struct exchange *exchange);

/* The same for who only looks, on a port whose metrics all may see: everybody but web pages, if anybody may. */
bool access_cache_view(struct exchange *exchange);

/*
 * Does a request with these fields come from where its sender could know the server's own address? `name` is what the
 * server is configured to listen on, `machine` the name of its machine; `any_host`: clients may call it as they like.
 * `origin` has `at` NULL where there is no such field (RFC 6454 section 7).
 */
bool access_is_own(struct bytes host, struct bytes origin, const char *name, const char *machine, bool any_host);

#endif
