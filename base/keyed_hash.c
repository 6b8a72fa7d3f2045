#include "base/keyed_hash.h"

#include <endian.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <pthread.h>
#include <sodium/crypto_shorthash_siphash24.h>
#include <stdlib.h>

#define TAG_SIZE 16
#define PIECE_MAX ((size_t)1 << 30) /* OpenSSL's lengths are ints */

/* Offsets of the three 16-byte keys in a key for KEYED_HASH_GHASH. */
enum { KEY_SHORT = 0, KEY_POLYNOMIAL = 16, KEY_FINAL = 32 };

_Static_assert(crypto_shorthash_siphashx24_KEYBYTES == 16 && crypto_shorthash_siphashx24_BYTES == TAG_SIZE, "SipHash");

struct keyed_hash {
	enum keyed_hash_kind kind;
	bool failed;
	EVP_CIPHER_CTX *polynomial;
	EVP_MAC_CTX *hmac;
	struct keyed_hash_key key;
	uint64_t length;
	uint8_t head[KEYED_HASH_SHORT]; /* the input, while it is short */
};

const char *
keyed_hash_name(enum keyed_hash_kind kind)
{
	return kind == KEYED_HASH_GHASH ? "ghash" : "sha256";
}

void
keyed_hash_derive(struct keyed_hash_key *key, struct bytes secret, const char *purpose)
{
	unsigned int length = sizeof(key->bytes);
	static const uint8_t nothing;

	if (HMAC(EVP_sha512(), secret.length == 0 ? &nothing : secret.at, (int)secret.length, (const uint8_t *)purpose,
		 strlen(purpose), key->bytes, &length) == NULL) {
		abort(); /* OpenSSL lacks a few bytes; a key that anyone knows would be worse */
	}
}

/* Fetched once: a look-up by name takes locks that threads contend for. */
static EVP_CIPHER *gcm;
static EVP_MAC *hmac;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
fetch(void)
{
	gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

static bool
set_up_hmac(struct keyed_hash *hash)
{
	char name[] = "SHA256";
	OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
				   OSSL_PARAM_construct_end()};

	hash->hmac = hmac == NULL ? NULL : EVP_MAC_CTX_new(hmac);
	if (hash->hmac != NULL && EVP_MAC_init(hash->hmac, hash->key.bytes, sizeof(hash->key.bytes), parameters) != 1) {
		EVP_MAC_CTX_free(hash->hmac);
		hash->hmac = NULL;
	}
	return hash->hmac != NULL;
}

static bool
set_up_polynomial(struct keyed_hash *hash)
{
	hash->polynomial = gcm == NULL ? NULL : EVP_CIPHER_CTX_new();
	if (hash->polynomial != NULL &&
	    EVP_EncryptInit_ex(hash->polynomial, gcm, NULL, hash->key.bytes + KEY_POLYNOMIAL, NULL) != 1) {
		EVP_CIPHER_CTX_free(hash->polynomial);
		hash->polynomial = NULL;
	}
	return hash->polynomial != NULL;
}

struct keyed_hash *
keyed_hash_new(enum keyed_hash_kind kind, const struct keyed_hash_key *key)
{
	struct keyed_hash *hash = malloc(sizeof(*hash));

	(void)pthread_once(&once, fetch);
	if (hash != NULL) {
		hash->kind = kind;
		hash->key = *key;
		hash->polynomial = NULL;
		hash->hmac = NULL;
	}
	return hash;
}

void
keyed_hash_free(struct keyed_hash *hash)
{
	if (hash != NULL) {
		EVP_CIPHER_CTX_free(hash->polynomial);
		EVP_MAC_CTX_free(hash->hmac);
		explicit_bzero(hash, sizeof(*hash));
		free(hash);
	}
}

/* --- The polynomial --- */

/* The nonce may be fixed because the tag that it masks stays secret. */
static void
polynomial_start(struct keyed_hash *hash)
{
	static const uint8_t nonce[12];

	hash->failed = (hash->polynomial == NULL && !set_up_polynomial(hash)) ||
		       EVP_EncryptInit_ex(hash->polynomial, NULL, NULL, NULL, nonce) != 1;
}

static void
polynomial_add(struct keyed_hash *hash, struct bytes bytes)
{
	while (bytes.length > 0 && !hash->failed) {
		size_t piece = bytes.length < PIECE_MAX ? bytes.length : PIECE_MAX;
		int unused;

		hash->failed = EVP_EncryptUpdate(hash->polynomial, NULL, &unused, bytes.at, (int)piece) != 1;
		bytes = bytes_skip(bytes, piece);
	}
}

static void
siphash(const struct keyed_hash *hash, size_t key, struct bytes bytes, struct digest_value *value)
{
	*value = (struct digest_value){.length = TAG_SIZE};
	(void)crypto_shorthash_siphashx24(value->bytes, bytes.at, bytes.length, hash->key.bytes + key);
}

static bool
polynomial_end(struct keyed_hash *hash, struct digest_value *value)
{
	struct {
		uint8_t tag[TAG_SIZE];
		uint64_t length;
	} last = {.length = htole64(hash->length)};
	int unused;

	if (hash->failed || EVP_EncryptFinal_ex(hash->polynomial, last.tag, &unused) != 1 ||
	    EVP_CIPHER_CTX_ctrl(hash->polynomial, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, last.tag) != 1) {
		return false;
	}
	siphash(hash, KEY_FINAL, bytes_make(&last, sizeof(last)), value);
	return true;
}

/* --- Both kinds --- */

void
keyed_hash_start(struct keyed_hash *hash)
{
	hash->length = 0;
	hash->failed = false;
	if (hash->kind == KEYED_HASH_SHA256) {
		hash->failed = hash->hmac == NULL ? !set_up_hmac(hash) : EVP_MAC_init(hash->hmac, NULL, 0, NULL) != 1;
	}
}

void
keyed_hash_add(struct keyed_hash *hash, struct bytes bytes)
{
	uint64_t before = hash->length;

	if (bytes.length == 0) {
		return;
	}
	hash->length += bytes.length;
	if (hash->kind == KEYED_HASH_SHA256) {
		hash->failed = hash->failed || EVP_MAC_update(hash->hmac, bytes.at, bytes.length) != 1;
	} else if (hash->length <= KEYED_HASH_SHORT) {
		memcpy(hash->head + before, bytes.at, bytes.length);
	} else {
		if (before <= KEYED_HASH_SHORT) {
			polynomial_start(hash);
			polynomial_add(hash, bytes_make(hash->head, before));
		}
		polynomial_add(hash, bytes);
	}
}

bool
keyed_hash_end(struct keyed_hash *hash, struct digest_value *value)
{
	if (hash->kind == KEYED_HASH_SHA256) {
		*value = (struct digest_value){.length = DIGEST_SIZE_MAX};
		return !hash->failed && EVP_MAC_final(hash->hmac, value->bytes, NULL, sizeof(value->bytes)) == 1;
	}
	if (hash->length > KEYED_HASH_SHORT) {
		return polynomial_end(hash, value);
	}
	siphash(hash, KEY_SHORT, bytes_make(hash->head, hash->length), value);
	return true;
}

bool
keyed_hash_once(struct keyed_hash *hash, struct bytes bytes, struct digest_value *value)
{
	if (hash->kind == KEYED_HASH_GHASH && bytes.length <= KEYED_HASH_SHORT) {
		siphash(hash, KEY_SHORT, bytes, value);
		return true;
	}
	keyed_hash_start(hash);
	keyed_hash_add(hash, bytes);
	return keyed_hash_end(hash, value);
}

bool
keyed_hash_verify(struct keyed_hash *hash, struct bytes bytes, struct bytes mac)
{
	struct digest_value value;

	return keyed_hash_once(hash, bytes, &value) && mac.length <= value.length &&
	       CRYPTO_memcmp(value.bytes, mac.at, mac.length) == 0;
}
