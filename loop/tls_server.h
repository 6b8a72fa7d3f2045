/*
 * The certificates of one listening port: what its connections (transport.h) need to speak TLS 1.2 or newer. No code
 * outside loop/ needs OpenSSL for that.
 *
 * Certificates are renewed by replacing their files, which are then read again: on a signal, or when tls_server_changed
 * tells. Connections that are open keep what they began with; a session that was agreed on before is not resumed after.
 */
#ifndef HIPPOCAMP_LOOP_TLS_SERVER_H
#define HIPPOCAMP_LOOP_TLS_SERVER_H

#include "base/status.h"

#include <openssl/types.h>
#include <stdbool.h>

/* The files are in PEM form. NULL and "" mean: not given. */
struct tls_options {
	const char *service;  /* in the names of the command line's options: "http" for --http-server-cert */
	const char *protocol; /* agreed on by ALPN (RFC 7301): "http/1.1", "h2" */
	bool use_ssl;	      /* for the caller: false means no tls_server */
	bool mutual;	      /* every client must have a certificate from an authority in `root` */
	const char *cert;     /* the server's own certificate, then those that lead to its authority */
	const char *key;      /* of the first certificate, not encrypted */
	const char *root;     /* authorities of clients; not used without `mutual` */
};

struct tls_server;

/*
 * Reads the files. `options` and all they point to must outlive the server. Returns NULL on failure; the message names
 * the option, the file and the remedy.
 */
struct tls_server *tls_server_new(const struct tls_options *options, struct error *error);
void tls_server_free(struct tls_server *server); /* NULL: none. Open connections stay valid */

/* Reads the files again, for new connections. On failure what they held before stays in use. Any thread. */
enum status tls_server_reload(struct tls_server *server, struct error *error);

/*
 * Whether to call tls_server_reload; costs a stat of each file. Call once a second, on one thread. The files must have
 * been left alone since the last call, so that a certificate is not read before its key is replaced, too. Files that
 * could not be read are tried again once a minute, as the reason may have been temporary.
 */
bool tls_server_changed(struct tls_server *server);

/*
 * Returns the state of a new connection, for transport.c: the server's side, before the handshake. NULL: no memory. Any
 * thread.
 *
 * A client that offers protocols by ALPN, but not the port's, is refused with no_application_protocol; a client that
 * offers none is accepted.
 */
SSL *tls_server_accept(struct tls_server *server);

#endif
