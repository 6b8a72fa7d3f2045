/*
 * The address of a server behind: "http://host[:port][/path]", "https://…", or "unix:/run/server.sock", which speak
 * HTTP; or "grpc://host:port" or "grpcs://…".
 */
#ifndef HIPPOCAMP_UPSTREAM_URL_H
#define HIPPOCAMP_UPSTREAM_URL_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct upstream_url {
	const char *option; /* as given to upstream_url_parse */
	char *text;	    /* as given, without user information: for messages */
	char *host;	    /* a name or a numeric address, without brackets; NULL: a Unix socket */
	uint16_t port;	    /* of `host` */
	char *socket;	    /* the path of a Unix socket, or NULL */
	char *authority;    /* for the Host field (RFC 9110 section 7.2) */
	char *path;	    /* precedes every path of a request, without a slash at its end; "" where there is none */
	bool tls;
	bool grpc;
};

/* `option` is what messages call it: "--upstream=". On failure there is nothing to free. */
enum status upstream_url_parse(const char *option, const char *text, struct upstream_url *url, struct error *error);
void upstream_url_fini(struct upstream_url *url);

/* Is it an address? And one that speaks HTTP? */
bool upstream_url_is_valid(const char *text);
bool upstream_url_is_http(const char *text);

#endif
