/*
 * Certificates for unit tests of TLS, made by OpenSSL when a test starts. A failure ends the test.
 */
#ifndef HIPPOCAMP_BASE_IDENTITY_FIXTURE_H
#define HIPPOCAMP_BASE_IDENTITY_FIXTURE_H

#include <openssl/types.h>

#define IDENTITY_DAY 86400L

struct identity {
	X509 *certificate;
	EVP_PKEY *key;
};

/*
 * Makes a certificate and its key, valid since ten days ago until `ends` seconds from now. `issuer` NULL: those of an
 * authority; `names` are then not used. `names`: as OpenSSL writes them, "DNS:redis.test,IP:127.0.0.1".
 */
struct identity identity_new(const char *name, const struct identity *issuer, const char *names, long ends);
void identity_free(struct identity *identity);

/* Writes the certificate or the key as a PEM file; the key under `password` unless that is NULL. */
void identity_write_certificate(const struct identity *identity, const char *path);
void identity_write_key(const struct identity *identity, const char *password, const char *path);

#endif
