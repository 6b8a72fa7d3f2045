#include "server/access.h"

#include <arpa/inet.h>
#include <limits.h>
#include <unistd.h>

/* Strips the port, and the brackets of an IPv6 address. */
static struct bytes
host_name(struct bytes host)
{
	const uint8_t *end;

	if (bytes_starts_with(host, "[")) {
		host = bytes_skip(host, 1);
		end = memchr(host.at, ']', host.length);
	} else {
		end = host.length == 0 ? NULL : memchr(host.at, ':', host.length);
	}
	return end == NULL ? host : bytes_make(host.at, (size_t)(end - host.at));
}

static bool
is_address(struct bytes name)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (name.length == 0 || name.length >= sizeof(text)) {
		return false;
	}
	memcpy(text, name.at, name.length);
	text[name.length] = '\0';
	return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

/* An address or a name of the server's own: no foreign page has such a host. */
static bool
is_own_name(struct bytes host, const char *name, const char *machine)
{
	struct bytes called = host_name(host);

	return is_address(called) || bytes_equal_nocase(called, "localhost") || bytes_equal_nocase(called, name) ||
	       bytes_equal_nocase(called, machine);
}

bool
access_is_own(struct bytes host, struct bytes origin, const char *name, const char *machine, bool any_host)
{
	static const char *const schemes[] = {"http://", "https://"};
	bool own = host.length == 0 || is_own_name(host, name, machine); /* browsers always send Host */

	if (origin.at == NULL) {
		return own || any_host;
	}
	for (size_t i = 0; own && i < sizeof(schemes) / sizeof(*schemes); i++) {
		size_t length = strlen(schemes[i]);
		struct bytes authority =
			bytes_starts_with(origin, schemes[i]) ? bytes_skip(origin, length) : bytes_make(NULL, 0);

		if (authority.length > 0 && authority.length == host.length &&
		    strncasecmp((const char *)authority.at, (const char *)host.at, host.length) == 0) {
			return true;
		}
	}
	return false;
}

/* Has the request fields that proxies add (RFC 9110 section 7.6.3, RFC 7239)? */
static bool
is_forwarded(const struct http1_head *head)
{
	static const char *const fields[] = {"via", "forwarded", "x-forwarded-for", "x-real-ip"};

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		if (http1_header(head, fields[i]).at != NULL) {
			return true;
		}
	}
	return false;
}

static bool
refuse(struct exchange *exchange, const char *why)
{
	reply_http_error(exchange, 403, why);
	return false;
}

/* `machine`: the machine's name, or empty. */
static bool
admit(struct exchange *exchange, const char *machine, bool any_host)
{
	if (access_is_own(exchange->head.host, http1_header(&exchange->head, "origin"), exchange->port->address,
			  machine, any_host)) {
		return true;
	}
	return refuse(exchange,
		      "the cache is not shown to or purged by web pages: ask with 'Host: localhost', the server's "
		      "address or its machine's name, and without 'Origin'");
}

static bool
refuse_if_off(struct exchange *exchange)
{
	return exchange->options->cache_admin == CACHE_ADMIN_NEVER &&
	       !refuse(exchange, "the server was started with --allow-cache-admin=false");
}

bool
access_cache_admin(struct exchange *exchange)
{
	const struct server_port *port = exchange->port;
	char machine[HOST_NAME_MAX + 1] = "";

	if (refuse_if_off(exchange)) {
		return false;
	}
	if (port->cache_admin == CACHE_ADMIN_CLOSED) {
		return refuse(
			exchange,
			"not allowed on this port, which does not listen on a loopback address: start the server with "
			"--allow-cache-admin, or with 127.0.0.1 as --http-address or --metrics-address");
	}
	if (port->cache_admin == CACHE_ADMIN_LOOPBACK && is_forwarded(&exchange->head)) {
		return refuse(
			exchange,
			"this request came through a proxy, which lets others reach the loopback address: start the "
			"server with --allow-cache-admin if the proxy keeps away those who may not purge the cache");
	}
	(void)gethostname(machine, sizeof(machine) - 1);
	return admit(exchange, machine, port->cache_admin == CACHE_ADMIN_OPEN);
}

bool
access_cache_view(struct exchange *exchange)
{
	return !refuse_if_off(exchange) && admit(exchange, "", true);
}
