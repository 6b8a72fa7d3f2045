#include "base/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>
#ifdef XXHASH_DISPATCHES
/* Puts functions that use what the processor has (AVX2, AVX-512) in the place of those of the same name. */
#include <xxh_x86dispatch.h>
#endif

struct digest {
	enum digest_kind kind;
	XXH3_state_t *xxh3;
	EVP_MD_CTX *sha256;
};

void
digest_secret_init(struct digest_secret *secret, struct bytes text)
{
	unsigned int length = 0;

	/* SHA-512 in counter mode: XXH3 wants a secret whose bytes all look random, whatever the text is. */
	for (uint8_t block = 0; block < DIGEST_SECRET_SIZE / 64; block++) {
		(void)HMAC(EVP_sha512(), &block, 1, text.at, text.length, secret->bytes + (size_t)block * 64, &length);
	}
}

struct digest *
digest_new(enum digest_kind kind)
{
	struct digest *digest = calloc(1, sizeof(*digest));

	if (digest == NULL) {
		return NULL;
	}
	digest->kind = kind;
	if (kind == DIGEST_XXH3) {
		digest->xxh3 = XXH3_createState();
	} else {
		digest->sha256 = EVP_MD_CTX_new();
	}
	if (digest->xxh3 == NULL && digest->sha256 == NULL) {
		free(digest);
		return NULL;
	}
	return digest;
}

void
digest_free(struct digest *digest)
{
	if (digest != NULL) {
		(void)XXH3_freeState(digest->xxh3);
		EVP_MD_CTX_free(digest->sha256);
		free(digest);
	}
}

void
digest_start(struct digest *digest, const struct digest_secret *secret)
{
	if (digest->kind == DIGEST_XXH3) {
		(void)XXH3_128bits_reset_withSecret(digest->xxh3, secret->bytes, DIGEST_SECRET_SIZE);
	} else {
		(void)EVP_DigestInit_ex(digest->sha256, EVP_sha256(), NULL);
		(void)EVP_DigestUpdate(digest->sha256, secret->bytes, DIGEST_SECRET_SIZE);
	}
}

void
digest_add(struct digest *digest, struct bytes bytes)
{
	if (bytes.length == 0) {
		return;
	}
	if (digest->kind == DIGEST_XXH3) {
		(void)XXH3_128bits_update(digest->xxh3, bytes.at, bytes.length);
	} else {
		(void)EVP_DigestUpdate(digest->sha256, bytes.at, bytes.length);
	}
}

static void
xxh3_value(XXH128_hash_t hash, struct digest_value *value)
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, hash);
	*value = (struct digest_value){.length = sizeof(canonical.digest)};
	memcpy(value->bytes, canonical.digest, sizeof(canonical.digest));
}

void
digest_end(struct digest *digest, struct digest_value *value)
{
	unsigned int length = 0;

	if (digest->kind == DIGEST_XXH3) {
		xxh3_value(XXH3_128bits_digest(digest->xxh3), value);
	} else {
		*value = (struct digest_value){0};
		(void)EVP_DigestFinal_ex(digest->sha256, value->bytes, &length);
		value->length = (uint8_t)length;
	}
}

void
digest_once(struct digest *digest, const struct digest_secret *secret, struct bytes bytes, struct digest_value *value)
{
	if (digest->kind == DIGEST_XXH3) {
		xxh3_value(XXH3_128bits_withSecret(bytes.at, bytes.length, secret->bytes, DIGEST_SECRET_SIZE), value);
		return;
	}
	digest_start(digest, secret);
	digest_add(digest, bytes);
	digest_end(digest, value);
}

uint64_t
checksum64(struct bytes bytes)
{
	return XXH3_64bits(bytes.at, bytes.length);
}

void
hex_text(struct bytes bytes, char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < bytes.length; i++) {
		text[2 * i] = digits[bytes.at[i] >> 4];
		text[2 * i + 1] = digits[bytes.at[i] & 15];
	}
	text[2 * bytes.length] = '\0';
}

void
random_bytes(void *at, size_t length)
{
	uint8_t *next = at;

	while (length > 0) {
		ssize_t got = getrandom(next, length, 0);

		if (got > 0) {
			next += got;
			length -= (size_t)got;
		}
	}
}
