/*
 * TLS for the connections that libvalkey's asynchronous API makes. The SSL_CTX and the SSL are ours, because libvalkey
 * checks no names, resumes no sessions and does not tell why a handshake failed.
 *
 * Call for each connection, on its thread: redis_tls_start in the connect callback, before the first command;
 * redis_tls_wants_write after each valkeyAsyncHandleRead and valkeyAsyncHandleWrite; redis_tls_failure and then
 * redis_tls_end in ev.cleanup. That redis_tls_start returned true does not mean that the handshake is complete, and no
 * callback reports its completion: the first reply shows it.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_TLS_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_TLS_H

#include "base/status.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

struct valkeyAsyncContext;

/* What is checked of the server's certificate. */
enum redis_tls_verify {
	REDIS_TLS_FULL, /* the chain, and that the certificate is for the name or address */
	REDIS_TLS_CA,	/* the chain */
	REDIS_TLS_NONE, /* nothing */
};

/* NULL and "" mean: not given. Without cacert and cacert_dir the system's authorities are trusted. */
struct redis_tls_options {
	const char *cert;	/* PEM, the client's certificate and its chain; `cert` and `key`, or neither */
	const char *key;	/* PEM, not encrypted */
	const char *cacert;	/* PEM, trusted authorities */
	const char *cacert_dir; /* a folder of authorities, prepared by 'openssl rehash' */
	const char *sni;	/* replaces the host's name, both where it is sent and where it is checked */
	enum redis_tls_verify verify;
};

/* One for a store; any thread may use it. TLS 1.2 or newer. */
struct redis_tls;

/*
 * Copies what it needs of `options`. Returns NULL on failure; the message names the option and the file. If the files
 * have changed (certificates are renewed in place), they are read again for the next connection. While they are not
 * valid, as when only one of a pair has been replaced, the former contents stay in use.
 */
struct redis_tls *redis_tls_new(const struct redis_tls_options *options, struct error *error);
/* Reports the last such reading, once, with a line for the log in `text`. Any thread. */
enum redis_tls_news { REDIS_TLS_NOTHING, REDIS_TLS_RENEWED, REDIS_TLS_BROKEN };
enum redis_tls_news redis_tls_news(struct redis_tls *tls, char *text, size_t size);
void redis_tls_free(struct redis_tls *tls); /* open connections stay valid */

/*
 * The session that the last connections of one thread to one node left, with which the next one need not exchange
 * certificates again. Belongs to that thread and to one redis_tls. NULL if memory runs out, which every function here
 * takes for "no resumption".
 */
struct redis_tls_session;

struct redis_tls_session *redis_tls_session_new(void);
void redis_tls_session_free(struct redis_tls_session *session); /* after redis_tls_end of all connections that use it */

#define REDIS_TLS_NAME_SIZE 256
#define REDIS_TLS_FAILURE_SIZE 384

/* The TLS state of one connection. Zeroed before the first use, ready for the next connection after redis_tls_end. */
struct redis_tls_connection {
	SSL *ssl; /* NULL: not started, or ended */
	struct redis_tls_session *session;
	char name[REDIS_TLS_NAME_SIZE];
	char failure[REDIS_TLS_FAILURE_SIZE];
};

/*
 * Starts TLS with the node that is known by `host`, a name or an address. If it returns false, the caller frees the
 * context; redis_tls_failure then tells why, as it does if TLS fails later.
 */
bool redis_tls_start(struct redis_tls_connection *connection, struct redis_tls *tls, struct valkeyAsyncContext *valkey,
		     const char *host, struct redis_tls_session *session);

/*
 * Writes why TLS failed and which option to check; "" if TLS is not to blame (it was never started, or the connection
 * broke after the handshake). Empties OpenSSL's queue of errors.
 */
void redis_tls_failure(struct redis_tls_connection *connection, char *text, size_t size);

/*
 * Whether to watch for writability, whatever libvalkey asked for: if a write waits for room while a read waits for
 * bytes, libvalkey asks for bytes only, and the write would wait for ever.
 */
bool redis_tls_wants_write(const struct redis_tls_connection *connection);

/* Whether OpenSSL holds decrypted bytes that were not read yet. No event announces them. */
bool redis_tls_holds(const struct redis_tls_connection *connection);

/* Ends TLS on the connection; what is needed to resume it stays in its session. */
void redis_tls_end(struct redis_tls_connection *connection);

#endif
