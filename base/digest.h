/*
 * Digests. Two kinds behind one interface:
 *
 * - DIGEST_XXH3: XXH3-128 under a secret (xxHash's "withSecret" variant). Fast; unforgeable only as long as
 *   the secret is unknown. 16 bytes.
 * - DIGEST_SHA256: SHA-256 (FIPS 180-4) of the same secret and then the bytes. 32 bytes.
 *
 * A digest is a function of the concatenation of the bytes that were added. One thread per `struct digest`.
 */
#ifndef HIPPOCAMP_BASE_DIGEST_H
#define HIPPOCAMP_BASE_DIGEST_H

#include "base/bytes.h"

#define DIGEST_SIZE_MAX 32
#define DIGEST_SECRET_SIZE 192

enum digest_kind { DIGEST_XXH3, DIGEST_SHA256 };

/* What a secret text of any length becomes once, so that each digest starts fast. */
struct digest_secret {
	uint8_t bytes[DIGEST_SECRET_SIZE];
};

struct digest_value {
	uint8_t bytes[DIGEST_SIZE_MAX]; /* zeros behind `length` */
	uint8_t length;
};

struct digest;

void digest_secret_init(struct digest_secret *secret, struct bytes text);

/* `secret` must outlive the use of the state. NULL where there is no memory. */
struct digest *digest_new(enum digest_kind kind);
void digest_free(struct digest *digest);
void digest_start(struct digest *digest, const struct digest_secret *secret);
void digest_add(struct digest *digest, struct bytes bytes);
void digest_end(struct digest *digest, struct digest_value *value);

/* All at once; the same value as start, add, end. With DIGEST_XXH3 one digest serves any number of threads in this. */
void digest_once(struct digest *digest, const struct digest_secret *secret, struct bytes bytes,
		 struct digest_value *value);

/* XXH3-64 without a secret: a checksum against damage, not against an adversary. */
uint64_t checksum64(struct bytes bytes);

/* Lower-case hexadecimal; `text` has room for 2 * bytes.length + 1. */
void hex_text(struct bytes bytes, char *text);

/* From the kernel (getrandom), never fails. */
void random_bytes(void *at, size_t length);

#endif
