#include "caches/redis/connection/tls.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/openssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <valkey/async.h>
#include <valkey/tls.h>

#define FILES 4
#define BROKEN_NS UINT64_C(10000000000)

struct redis_tls {
	char *files[FILES]; /* cert, key, cacert, cacert_dir; NULL: not given */
	char *sni;	    /* NULL: the host's name */
	enum redis_tls_verify verify;

	pthread_mutex_t lock;	  /* guards what follows */
	SSL_CTX *context;	  /* made of the last valid files */
	uint64_t generation;	  /* counts contexts */
	uint64_t stamp;		  /* of the files when last read, valid or not */
	uint64_t broken_ns;	  /* when the files were last read and not valid; 0: they are valid */
	enum redis_tls_news news; /* not yet reported */
	char news_text[512];
};

struct redis_tls_session {
	SSL_SESSION *newest; /* NULL: none */
	uint64_t generation; /* of the context with which it was agreed on */
	char name[REDIS_TLS_NAME_SIZE];
};

static bool
given(const char *option)
{
	return option != NULL && *option != '\0';
}

/* --- The store's SSL_CTX --- */

static enum status
check_readable(const char *option, const char *path, struct error *error)
{
	if (access(path, R_OK) != 0) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "cache 'redis': %s '%s' cannot be read: %s; check the path and who may read it",
				 option, path, strerror(errno));
	}
	return STATUS_OK;
}

static enum status
set_useless(const char *option, const char *path, const char *what, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT, "cache 'redis': %s '%s' holds no %s in PEM form (%s)", option,
			 path, what, openssl_reason(ERR_peek_last_error()));
}

static enum status
load_key(SSL_CTX *context, const struct redis_tls_options *options, struct error *error)
{
	bool loaded = SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) == 1;

	if (!loaded && !openssl_is_key_mismatch(ERR_peek_last_error())) {
		return set_useless("key", options->key, "private key without a password", error);
	}
	if (!loaded || SSL_CTX_check_private_key(context) != 1) {
		return error_set(
			error, STATUS_INVALID_ARGUMENT,
			"cache 'redis': key '%s' does not belong to cert '%s'; the first certificate in 'cert' "
			"must be the client's own",
			options->key, options->cert);
	}
	return STATUS_OK;
}

static enum status
load_certificate(SSL_CTX *context, const struct redis_tls_options *options, struct error *error)
{
	if (!given(options->cert) && !given(options->key)) {
		return STATUS_OK;
	}
	if (!given(options->cert) || !given(options->key)) {
		return error_set(error, STATUS_INVALID_ARGUMENT,
				 "cache 'redis': '%s' is given without '%s'; a client certificate needs both",
				 given(options->cert) ? "cert" : "key", given(options->cert) ? "key" : "cert");
	}
	if (check_readable("cert", options->cert, error) != STATUS_OK ||
	    check_readable("key", options->key, error) != STATUS_OK) {
		return error->status;
	}
	if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1) {
		return set_useless("cert", options->cert, "certificate", error);
	}
	return load_key(context, options, error);
}

static enum status
load_authorities(SSL_CTX *context, const struct redis_tls_options *options, struct error *error)
{
	struct stat found;

	if (!given(options->cacert) && !given(options->cacert_dir) && SSL_CTX_set_default_verify_paths(context) != 1) {
		return error_set(error, STATUS_INTERNAL, "cache 'redis': cannot use the system's authorities: %s",
				 openssl_reason(ERR_peek_last_error()));
	}
	if (given(options->cacert)) {
		if (check_readable("cacert", options->cacert, error) != STATUS_OK) {
			return error->status;
		}
		if (SSL_CTX_load_verify_file(context, options->cacert) != 1) {
			return set_useless("cacert", options->cacert, "certificate", error);
		}
	}
	if (given(options->cacert_dir)) {
		if (check_readable("cacert_dir", options->cacert_dir, error) != STATUS_OK) {
			return error->status;
		}
		if (stat(options->cacert_dir, &found) != 0 || !S_ISDIR(found.st_mode) ||
		    SSL_CTX_load_verify_dir(context, options->cacert_dir) != 1) {
			return error_set(error, STATUS_INVALID_ARGUMENT,
					 "cache 'redis': cacert_dir '%s' is no folder; name a file in 'cacert'",
					 options->cacert_dir);
		}
	}
	return STATUS_OK;
}

/* Called on the connection's thread, which is the session's. Returning 1 keeps the reference. */
static int
keep_session(SSL *ssl, SSL_SESSION *newest)
{
	struct redis_tls_session *session = SSL_get_app_data(ssl);

	if (session == NULL) {
		return 0;
	}
	SSL_SESSION_free(session->newest);
	session->newest = newest;
	return 1;
}

static bool
copy(char **to, const char *text)
{
	*to = given(text) ? strdup(text) : NULL;
	return *to != NULL || !given(text);
}

static SSL_CTX *
new_context(const struct redis_tls *tls, struct error *error)
{
	const struct redis_tls_options options = {
		.cert = tls->files[0], .key = tls->files[1], .cacert = tls->files[2], .cacert_dir = tls->files[3]};
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
		(void)error_set(error, STATUS_INTERNAL, "cache 'redis': cannot set up TLS: %s",
				openssl_reason(ERR_peek_last_error()));
		SSL_CTX_free(context);
		return NULL;
	}
	SSL_CTX_set_default_passwd_cb(context, openssl_no_password);
	(void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_verify(context, tls->verify == REDIS_TLS_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	(void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, keep_session);
	if (load_certificate(context, &options, error) != STATUS_OK ||
	    load_authorities(context, &options, error) != STATUS_OK) {
		SSL_CTX_free(context);
		return NULL;
	}
	return context;
}

/* Returns a number that changes when a file is written or replaced. */
static uint64_t
stamp_files(const struct redis_tls *tls)
{
	uint64_t stamp = 1;

	for (size_t i = 0; i < FILES; i++) {
		stamp = file_stamp(tls->files[i], stamp);
	}
	return stamp;
}

struct redis_tls *
redis_tls_new(const struct redis_tls_options *options, struct error *error)
{
	struct redis_tls *tls = calloc(1, sizeof(*tls));

	if (tls != NULL) {
		(void)pthread_mutex_init(&tls->lock, NULL);
	}
	if (tls == NULL || !copy(&tls->files[0], options->cert) || !copy(&tls->files[1], options->key) ||
	    !copy(&tls->files[2], options->cacert) || !copy(&tls->files[3], options->cacert_dir) ||
	    !copy(&tls->sni, options->sni)) {
		(void)error_set(error, STATUS_INTERNAL, "cache 'redis': no memory for TLS");
		redis_tls_free(tls);
		return NULL;
	}
	tls->verify = options->verify;
	tls->generation = 1;
	if (given(options->sni) && strlen(options->sni) >= REDIS_TLS_NAME_SIZE) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "cache 'redis': sni is longer than %d bytes",
				REDIS_TLS_NAME_SIZE - 1);
		redis_tls_free(tls);
		return NULL;
	}
	ERR_clear_error();
	tls->stamp = stamp_files(tls);
	tls->context = new_context(tls, error);
	if (tls->context == NULL) {
		redis_tls_free(tls);
		tls = NULL;
	}
	ERR_clear_error();
	return tls;
}

void
redis_tls_free(struct redis_tls *tls)
{
	if (tls != NULL) {
		SSL_CTX_free(tls->context);
		for (size_t i = 0; i < FILES; i++) {
			free(tls->files[i]);
		}
		free(tls->sni);
		(void)pthread_mutex_destroy(&tls->lock);
		free(tls);
	}
}

/* Reads changed files again; while they are not valid, the former context stays in use. Returns a reference. */
static SSL_CTX *
current_context(struct redis_tls *tls, uint64_t *generation)
{
	uint64_t now = clock_now_ns();
	struct error error;
	SSL_CTX *context;
	uint64_t stamp;

	(void)pthread_mutex_lock(&tls->lock);
	stamp = stamp_files(tls);
	/* Also retries after a failure, which may have been temporary, such as a lack of descriptors. */
	if (stamp != tls->stamp || (tls->broken_ns != 0 && now - tls->broken_ns > BROKEN_NS)) {
		tls->stamp = stamp;
		tls->broken_ns = 0;
		ERR_clear_error();
		context = new_context(tls, &error);
		ERR_clear_error();
		if (context != NULL) {
			SSL_CTX_free(tls->context);
			tls->context = context;
			tls->generation++;
			tls->news = REDIS_TLS_RENEWED;
			(void)snprintf(tls->news_text, sizeof(tls->news_text),
				       "cache 'redis': the files of TLS have changed and were read again");
		} else {
			tls->broken_ns = now;
			tls->news = REDIS_TLS_BROKEN;
			(void)snprintf(tls->news_text, sizeof(tls->news_text),
				       "%.400s; what the files held before stays in use", error.text);
		}
	}
	context = tls->context;
	(void)SSL_CTX_up_ref(context);
	*generation = tls->generation;
	(void)pthread_mutex_unlock(&tls->lock);
	return context;
}

enum redis_tls_news
redis_tls_news(struct redis_tls *tls, char *text, size_t size)
{
	enum redis_tls_news news;

	(void)pthread_mutex_lock(&tls->lock);
	news = tls->news;
	tls->news = REDIS_TLS_NOTHING;
	(void)snprintf(text, size, "%s", tls->news_text);
	(void)pthread_mutex_unlock(&tls->lock);
	return news;
}

/* --- Sessions --- */

struct redis_tls_session *
redis_tls_session_new(void)
{
	return calloc(1, sizeof(struct redis_tls_session));
}

static void
drop_session(struct redis_tls_session *session)
{
	SSL_SESSION_free(session->newest);
	session->newest = NULL;
}

void
redis_tls_session_free(struct redis_tls_session *session)
{
	if (session != NULL) {
		drop_session(session);
		free(session);
	}
}

/* A resumed session's certificate is not checked again, so it must have been checked for the same name, with the same
 * files. */
static void
resume(struct redis_tls_connection *connection, uint64_t generation)
{
	struct redis_tls_session *session = connection->session;

	if (session == NULL) {
		return;
	}
	if (strcmp(session->name, connection->name) != 0 || session->generation != generation) {
		drop_session(session);
		session->generation = generation;
		memcpy(session->name, connection->name, sizeof(session->name));
	}
	if (session->newest != NULL && SSL_SESSION_is_resumable(session->newest)) {
		(void)SSL_set_session(connection->ssl, session->newest);
	}
}

/* --- Why it failed --- */

static const struct {
	int reason;
	const char *text;
} explanations[] = {
	{SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
	 "the server demands a client certificate: give 'cert' and 'key', or set its tls-auth-clients to no"},
	{SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
	 "the server refuses the handshake, as one does that demands a client certificate: check 'cert' and 'key'"},
	{SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the server refuses the client certificate: check 'cert' and 'key'"},
	{SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the client certificate has expired: renew 'cert'"},
	{SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "the client certificate is revoked: renew 'cert'"},
	{SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the server refuses the client certificate: check 'cert' and 'key'"},
	{SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "the server cannot use the client certificate: check 'cert'"},
	{SSL_R_TLSV1_ALERT_UNKNOWN_CA,
	 "the server does not trust the authority of the client certificate: check 'cert', or what it trusts"},
	{SSL_R_TLSV1_ALERT_DECRYPT_ERROR, "the server refuses the client certificate: check 'cert' and 'key'"},
	{SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the server speaks no TLS 1.2 or newer: check its tls-protocols"},
	{SSL_R_UNSUPPORTED_PROTOCOL, "the server speaks no TLS 1.2 or newer: check its tls-protocols"},
	{SSL_R_WRONG_VERSION_NUMBER,
	 "the server does not speak TLS here: check that 'port' is its TLS port, or turn 'tls_enabled' off"},
	{SSL_R_TLSV1_UNRECOGNIZED_NAME, "the server does not know itself by this name: check 'sni'"},
};

static void
explain_error(unsigned long code, char *text, size_t size)
{
	const char *explanation = "the handshake or a record failed";

	for (size_t i = 0; i < sizeof(explanations) / sizeof(*explanations); i++) {
		if (explanations[i].reason == ERR_GET_REASON(code)) {
			explanation = explanations[i].text;
		}
	}
	(void)snprintf(text, size, "TLS: %s (%s)", explanation, openssl_reason(code));
}

static void
explain_certificate(const struct redis_tls_connection *connection, long verified, char *text, size_t size)
{
	const char *reason = X509_verify_cert_error_string(verified);

	switch (verified) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		(void)snprintf(
			text, size,
			"TLS: the server's certificate is not for '%s' (%s): use a name or address that it is for, "
			"give that in 'sni', or check the authority only (tls_verify=ca)",
			connection->name, reason);
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		(void)snprintf(
			text, size,
			"TLS: the server's certificate, or one it rests on, is not valid now (%s): renew it, or set "
			"the clock right",
			reason);
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		(void)snprintf(
			text, size,
			"TLS: the server's certificate is from an authority that is not trusted (%s): name the "
			"authority's file in 'cacert', or its folder, prepared by 'openssl rehash', in 'cacert_dir'",
			reason);
		break;
	default:
		(void)snprintf(text, size,
			       "TLS: the server's certificate is refused (%s): check it, 'cacert', 'cacert_dir' and "
			       "'tls_verify'",
			       reason);
		break;
	}
}

/* Whether the handshake was completed. SSL_is_init_finished does not tell: it is false again after an alert. */
static bool
agreed(const SSL *ssl)
{
	char finished[EVP_MAX_MD_SIZE];

	return SSL_get_peer_finished(ssl, finished, sizeof(finished)) > 0;
}

static void
explain(const struct redis_tls_connection *connection, char *text, size_t size)
{
	unsigned long code = ERR_peek_last_error();
	long verified = SSL_get_verify_result(connection->ssl);
	bool closed = ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;

	text[0] = '\0';
	if (verified != X509_V_OK && SSL_get_verify_mode(connection->ssl) != SSL_VERIFY_NONE) {
		explain_certificate(connection, verified, text, size);
	} else if (ERR_GET_LIB(code) == ERR_LIB_SSL && !closed) {
		explain_error(code, text, size);
	} else if (!agreed(connection->ssl)) {
		(void)snprintf(
			text, size,
			"TLS: the server was silent or closed the connection before TLS was agreed on: check that "
			"'port' is its TLS port, and that it has room for more clients");
	}
}

void
redis_tls_failure(struct redis_tls_connection *connection, char *text, size_t size)
{
	text[0] = '\0';
	if (connection->failure[0] != '\0') {
		(void)snprintf(text, size, "%s", connection->failure);
	} else if (connection->ssl != NULL) {
		explain(connection, text, size);
	}
	ERR_clear_error();
}

/* --- A connection --- */

static bool
is_address(const char *name)
{
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(name);

	ASN1_OCTET_STRING_free(address);
	ERR_clear_error();
	return address != NULL;
}

/* Sets the name as certificates write it: without the dot that ends an absolute name. */
static bool
set_name(struct redis_tls_connection *connection, const char *name)
{
	size_t length = strlen(name);

	if (length > 0 && name[length - 1] == '.') {
		length--;
	}
	if (length >= sizeof(connection->name)) {
		return false;
	}
	memset(connection->name, 0, sizeof(connection->name));
	memcpy(connection->name, name, length);
	return true;
}

static bool
prepare(struct redis_tls_connection *connection, const struct redis_tls *tls, uint64_t generation)
{
	SSL *ssl = connection->ssl;

	if (tls->verify == REDIS_TLS_FULL) {
		SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		if (SSL_set1_host(ssl, connection->name) != 1) { /* an address is checked as one */
			return false;
		}
	}
	if (!is_address(connection->name) && SSL_set_tlsext_host_name(ssl, connection->name) != 1) {
		return false;
	}
	(void)SSL_set_app_data(ssl, connection->session);
	resume(connection, generation);
	return true;
}

static bool
fail(struct redis_tls_connection *connection, const char *why)
{
	(void)snprintf(connection->failure, sizeof(connection->failure), "TLS: %s", why);
	return false;
}

bool
redis_tls_start(struct redis_tls_connection *connection, struct redis_tls *tls, struct valkeyAsyncContext *valkey,
		const char *host, struct redis_tls_session *session)
{
	SSL_CTX *context;
	uint64_t generation;

	connection->failure[0] = '\0';
	if (!set_name(connection, tls->sni != NULL ? tls->sni : host)) {
		return fail(connection, "the host's name is too long");
	}
	connection->session = session;
	context = current_context(tls, &generation);
	connection->ssl = SSL_new(context);
	SSL_CTX_free(context);
	if (connection->ssl == NULL || !prepare(connection, tls, generation)) {
		return fail(connection, openssl_reason(ERR_peek_last_error()));
	}
	(void)SSL_up_ref(connection->ssl);
	if (valkeyInitiateTLS(&valkey->c, connection->ssl) != VALKEY_OK) {
		SSL_free(connection->ssl); /* libvalkey's reference, which it did not take */
		explain(connection, connection->failure, sizeof(connection->failure));
		if (connection->failure[0] == '\0') {
			(void)fail(connection, valkey->c.errstr);
		}
		return false;
	}
	return true;
}

bool
redis_tls_wants_write(const struct redis_tls_connection *connection)
{
	return connection->ssl != NULL && SSL_want_write(connection->ssl);
}

bool
redis_tls_holds(const struct redis_tls_connection *connection)
{
	return connection->ssl != NULL && SSL_pending(connection->ssl) > 0;
}

void
redis_tls_end(struct redis_tls_connection *connection)
{
	if (connection->ssl != NULL) {
		if (connection->session != NULL && !agreed(connection->ssl)) {
			drop_session(connection->session);
		}
		(void)SSL_set_app_data(connection->ssl, NULL);
		SSL_set_shutdown(connection->ssl, SSL_SENT_SHUTDOWN); /* else OpenSSL takes the session for a bad one */
		SSL_free(connection->ssl);
	}
	connection->ssl = NULL;
	connection->session = NULL;
	connection->failure[0] = '\0';
}
