#include "base/identity_fixture.h"

#include "base/unit_test.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static void
add_extension(X509 *certificate, int kind, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, kind, value);

	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

struct identity
identity_new(const char *name, const struct identity *issuer, const char *names, long ends)
{
	static long serial = 1;
	struct identity made = {.certificate = X509_new(), .key = EVP_EC_gen("P-256")};
	const struct identity *signer = issuer == NULL ? &made : issuer;
	X509_NAME *subject = X509_get_subject_name(made.certificate);

	X509_set_version(made.certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), serial++);
	X509_gmtime_adj(X509_getm_notBefore(made.certificate), -10 * IDENTITY_DAY);
	X509_gmtime_adj(X509_getm_notAfter(made.certificate), ends);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(made.certificate, X509_get_subject_name(signer->certificate));
	X509_set_pubkey(made.certificate, made.key);
	if (issuer == NULL) {
		add_extension(made.certificate, NID_basic_constraints, "critical,CA:TRUE");
	} else {
		add_extension(made.certificate, NID_subject_alt_name, names);
	}
	assert_true(X509_sign(made.certificate, signer->key, EVP_sha256()) > 0);
	return made;
}

void
identity_free(struct identity *identity)
{
	X509_free(identity->certificate);
	EVP_PKEY_free(identity->key);
}

void
identity_write_certificate(const struct identity *identity, const char *path)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(PEM_write_X509(file, identity->certificate), 1);
	assert_int_equal(fclose(file), 0);
}

void
identity_write_key(const struct identity *identity, const char *password, const char *path)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(PEM_write_PrivateKey(file, identity->key, password == NULL ? NULL : EVP_aes_128_cbc(),
					      (const unsigned char *)password,
					      password == NULL ? 0 : (int)strlen(password), NULL, NULL),
			 1);
	assert_int_equal(fclose(file), 0);
}
