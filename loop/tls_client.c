#include "loop/tls_client.h"

#include "base/memory.h"
#include "base/openssl.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

struct tls_client {
	SSL_CTX *context;
};

static enum status
useless(const char *prefix, const char *option, const char *file, struct error *error)
{
	return error_set(error, STATUS_INVALID_ARGUMENT,
			 "--%s-%s=%s cannot be used: %s; give a readable file in PEM form", prefix, option, file,
			 openssl_reason(ERR_peek_last_error()));
}

static enum status
load(SSL_CTX *context, const struct tls_client_options *options, struct error *error)
{
	if (options->cacert == NULL ? SSL_CTX_set_default_verify_paths(context) != 1
				    : SSL_CTX_load_verify_file(context, options->cacert) != 1) {
		return useless(options->prefix, "cacert", options->cacert == NULL ? "(system)" : options->cacert,
			       error);
	}
	if (options->cert == NULL) {
		return STATUS_OK;
	}
	if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1) {
		return useless(options->prefix, "cert", options->cert, error);
	}
	if (SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(context) != 1) {
		return useless(options->prefix, "key", options->key, error);
	}
	return STATUS_OK;
}

struct tls_client *
tls_client_new(const struct tls_client_options *options, struct error *error)
{
	struct tls_client *client;

	if ((options->cert == NULL) != (options->key == NULL)) {
		(void)error_set(error, STATUS_INVALID_ARGUMENT, "--%s-cert and --%s-key belong together: give both",
				options->prefix, options->prefix);
		return NULL;
	}
	client = memory_new(sizeof(*client));
	ERR_clear_error();
	client->context = SSL_CTX_new(TLS_client_method());
	if (client->context == NULL) {
		(void)error_set(error, STATUS_UNAVAILABLE, "no memory for TLS");
		free(client);
		return NULL;
	}
	(void)SSL_CTX_set_min_proto_version(client->context, TLS1_2_VERSION);
	SSL_CTX_set_verify(client->context, SSL_VERIFY_PEER, NULL);
	(void)SSL_CTX_set_mode(client->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
							SSL_MODE_RELEASE_BUFFERS);
	if (load(client->context, options, error) != STATUS_OK) {
		tls_client_free(client);
		client = NULL;
	}
	ERR_clear_error();
	return client;
}

void
tls_client_free(struct tls_client *client)
{
	if (client != NULL) {
		SSL_CTX_free(client->context);
		free(client);
	}
}

static bool
is_address(const char *host)
{
	struct in6_addr address;

	return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

SSL *
tls_client_connect(struct tls_client *client, const char *host, const char *alpn)
{
	SSL *ssl = SSL_new(client->context);
	bool named =
		ssl != NULL &&
		(alpn == NULL || SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn)) == 0) &&
		(is_address(host) ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1
				  : SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1);

	if (!named) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}
