#include "loop/tls_server.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/openssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOKS_BETWEEN_TRIES 60 /* at files that could not be read */

struct tls_server {
	const struct tls_options *options;
	uint64_t looked; /* stamp of the files at the last tls_server_changed */
	unsigned looks;	 /* since files that could not be read were tried */

	pthread_mutex_t lock; /* guards what follows */
	SSL_CTX *context;     /* made of the last valid files */
	uint64_t stamp;	      /* of the files when last read, valid or not */
	bool broken;	      /* they were not valid */
};

static bool
given(const char *option)
{
	return option != NULL && *option != '\0';
}

/* --- The SSL_CTX --- */

/* `option`: "server-cert", ... */
static enum status
check_readable(const struct tls_options *options, const char *option, const char *path, struct error *error)
{
	if (!given(path)) {
		return error_set(error, STATUS_INVALID_ARGUMENT, "--%s-%s is not given, but TLS needs it",
				 options->service, option);
	}
	if (access(path, R_OK) != 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--%s-%s: '%s' cannot be read: %s; check the path and who may read it",
				 options->service, option, path, strerror(errno));
	}
	return STATUS_OK;
}

static enum status
load_certificate(SSL_CTX *context, const struct tls_options *options, struct error *error)
{
	enum status status = check_readable(options, "server-cert", options->cert, error);

	if (status == STATUS_OK && SSL_CTX_use_certificate_chain_file(context, options->cert) != 1) {
		status = error_set(error, STATUS_INVALID_ARGUMENT,
				   "--%s-server-cert: '%s' holds no certificate in PEM form that can be used (%s)",
				   options->service, options->cert, openssl_reason(ERR_peek_last_error()));
	}
	return status;
}

static enum status
load_key(SSL_CTX *context, const struct tls_options *options, struct error *error)
{
	enum status status = check_readable(options, "server-key", options->key, error);
	bool loaded;

	if (status != STATUS_OK) {
		return status;
	}
	loaded = SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) == 1;
	if (!loaded && !openssl_is_key_mismatch(ERR_peek_last_error())) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--%s-server-key: '%s' holds no private key in PEM form without a password (%s); "
				 "'openssl pkey -in OLD -out NEW' takes a password away",
				 options->service, options->key, openssl_reason(ERR_peek_last_error()));
	}
	if (!loaded || SSL_CTX_check_private_key(context) != 1) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--%s-server-key: '%s' does not belong to --%s-server-cert '%s'; the first "
				 "certificate there must be the server's own",
				 options->service, options->key, options->service, options->cert);
	}
	return STATUS_OK;
}

static enum status
load_authorities(SSL_CTX *context, const struct tls_options *options, struct error *error)
{
	enum status status = STATUS_OK;

	if (given(options->root) || options->mutual) {
		status = check_readable(options, "root-cert", options->root, error);
	}
	if (status != STATUS_OK || !given(options->root)) {
		return status;
	}
	if (SSL_CTX_load_verify_file(context, options->root) != 1) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "--%s-root-cert: '%s' holds no certificate in PEM form (%s)", options->service,
				 options->root, openssl_reason(ERR_peek_last_error()));
	}
	if (options->mutual) {
		SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(options->root));
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	return STATUS_OK;
}

static int
select_protocol(SSL *ssl, const unsigned char **selected, unsigned char *selected_length, const unsigned char *offered,
		unsigned offered_length, void *argument)
{
	const char *protocol = argument;
	size_t length = strlen(protocol);

	(void)ssl;
	for (unsigned at = 0; at < offered_length; at += 1U + offered[at]) { /* OpenSSL has checked the lengths */
		if (offered[at] == length && memcmp(offered + at + 1, protocol, length) == 0) {
			*selected = offered + at + 1;
			*selected_length = offered[at];
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/*
 * No cache of sessions: clients keep their own, in tickets. That a client closes without close_notify is no error,
 * since the protocols above tell where a message ends.
 */
static void
configure(SSL_CTX *context, const struct tls_options *options)
{
	SSL_CTX_set_default_passwd_cb(context, openssl_no_password);
	(void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	(void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
						SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(context, 1);
	(void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_session_id_context(context, (const unsigned char *)options->service,
					     (unsigned)strlen(options->service));
	SSL_CTX_set_alpn_select_cb(context, select_protocol, (void *)(uintptr_t)options->protocol);
}

static SSL_CTX *
new_context(const struct tls_options *options, struct error *error)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
		(void)error_set(error, STATUS_INTERNAL, "cannot set up TLS: %s", openssl_reason(ERR_peek_last_error()));
		SSL_CTX_free(context);
		return NULL;
	}
	configure(context, options);
	if (load_certificate(context, options, error) != STATUS_OK || load_key(context, options, error) != STATUS_OK ||
	    load_authorities(context, options, error) != STATUS_OK) {
		SSL_CTX_free(context);
		return NULL;
	}
	return context;
}

/* --- The server --- */

static uint64_t
stamp_files(const struct tls_options *options)
{
	return file_stamp(options->cert, file_stamp(options->key, file_stamp(options->root, 1)));
}

struct tls_server *
tls_server_new(const struct tls_options *options, struct error *error)
{
	struct tls_server *server = memory_new(sizeof(*server));

	server->options = options;
	(void)pthread_mutex_init(&server->lock, NULL);
	if (tls_server_reload(server, error) != STATUS_OK) {
		tls_server_free(server);
		return NULL;
	}
	return server;
}

void
tls_server_free(struct tls_server *server)
{
	if (server != NULL) {
		SSL_CTX_free(server->context);
		(void)pthread_mutex_destroy(&server->lock);
		free(server);
	}
}

enum status
tls_server_reload(struct tls_server *server, struct error *error)
{
	SSL_CTX *context;

	(void)pthread_mutex_lock(&server->lock);
	server->stamp = stamp_files(server->options); /* before they are read: what changes meanwhile is read again */
	ERR_clear_error();
	context = new_context(server->options, error);
	ERR_clear_error();
	if (context != NULL) {
		SSL_CTX_free(server->context);
		server->context = context;
	}
	server->broken = context == NULL;
	(void)pthread_mutex_unlock(&server->lock);
	return context == NULL ? error->status : STATUS_OK;
}

bool
tls_server_changed(struct tls_server *server)
{
	uint64_t stamp = stamp_files(server->options);
	bool settled = stamp == server->looked;
	bool changed;

	server->looked = stamp;
	(void)pthread_mutex_lock(&server->lock);
	server->looks = server->broken ? server->looks + 1 : 0;
	changed = (settled && stamp != server->stamp) || server->looks >= LOOKS_BETWEEN_TRIES;
	(void)pthread_mutex_unlock(&server->lock);
	if (changed) {
		server->looks = 0;
	}
	return changed;
}

SSL *
tls_server_accept(struct tls_server *server)
{
	SSL *ssl;

	(void)pthread_mutex_lock(&server->lock);
	ssl = SSL_new(server->context);
	(void)pthread_mutex_unlock(&server->lock);
	if (ssl != NULL) {
		SSL_set_accept_state(ssl);
	}
	ERR_clear_error();
	return ssl;
}
