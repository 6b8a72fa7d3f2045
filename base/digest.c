#include "base/digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>
#ifdef XXHASH_DISPATCHES
/* Redefines XXH3's functions as ones that use AVX2 or AVX-512 where the processor has it. */
#include <xxh_x86dispatch.h>
#endif

struct digest {
	EVP_MD_CTX *context;
	bool failed;
};

/* Fetched once: a look-up by name takes OpenSSL longer than a short digest. */
static EVP_MD *sha256;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
fetch(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static const EVP_MD *
algorithm(void)
{
	(void)pthread_once(&once, fetch);
	return sha256 != NULL ? sha256 : EVP_sha256();
}

static void
start(struct digest *digest)
{
	digest->failed = EVP_DigestInit_ex(digest->context, algorithm(), NULL) != 1;
}

struct digest *
digest_new(void)
{
	struct digest *digest = calloc(1, sizeof(*digest));

	if (digest == NULL || (digest->context = EVP_MD_CTX_new()) == NULL) {
		free(digest);
		return NULL;
	}
	start(digest);
	return digest;
}

void
digest_free(struct digest *digest)
{
	if (digest != NULL) {
		EVP_MD_CTX_free(digest->context);
		free(digest);
	}
}

void
digest_add(struct digest *digest, struct bytes bytes)
{
	if (bytes.length > 0) {
		digest->failed = EVP_DigestUpdate(digest->context, bytes.at, bytes.length) != 1 || digest->failed;
	}
}

void
digest_end(struct digest *digest, struct digest_value *value)
{
	*value = (struct digest_value){.length = DIGEST_SIZE_MAX};
	if (EVP_DigestFinal_ex(digest->context, value->bytes, NULL) != 1 || digest->failed) {
		abort(); /* OpenSSL lacks a few bytes; a wrong digest would give wrong answers */
	}
	start(digest);
}

bool
digest_once(struct bytes bytes, struct digest_value *value)
{
	*value = (struct digest_value){.length = DIGEST_SIZE_MAX};
	return EVP_Digest(bytes.at, bytes.length, value->bytes, NULL, algorithm(), NULL) == 1;
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
