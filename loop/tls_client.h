/*
 * TLS 1.2 or newer to servers: what connections (transport.h) need that we open. No code outside loop/ and the store in
 * Redis needs OpenSSL for that.
 */
#ifndef HIPPOCAMP_LOOP_TLS_CLIENT_H
#define HIPPOCAMP_LOOP_TLS_CLIENT_H

#include "base/status.h"

#include <openssl/types.h>

struct tls_client_options {
	const char *prefix; /* of the option names in messages: "upstream" for --upstream-cacert */
	const char *cacert; /* authorities of servers, in PEM form; NULL: the system's */
	const char *cert;   /* our own certificate, where the server asks for one; NULL: none */
	const char *key;    /* its key, not encrypted */
};

struct tls_client;

/* Reads the files. Returns NULL on failure; the message names the option, the file and the remedy. */
struct tls_client *tls_client_new(const struct tls_client_options *options, struct error *error);
void tls_client_free(struct tls_client *client); /* NULL: none */

/*
 * Returns the state of a new connection, before the handshake, for transport_init_client. The server's certificate must
 * be valid for `host`, a name or a numeric address. `alpn` (RFC 7301) is the protocol to speak, behind a byte with its
 * length; NULL: none is named. NULL: no memory. Any thread.
 */
SSL *tls_client_connect(struct tls_client *client, const char *host, const char *alpn);

#endif
