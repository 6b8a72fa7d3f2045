/*
 * SHA-256 (FIPS 180-4) of public bytes: model files, configurations, generations. It is collision-resistant but uses no
 * secret; for keys and authentication see keyed_hash.h.
 *
 * Also a checksum against accidental damage, hexadecimal text, and random bytes.
 */
#ifndef HIPPOCAMP_BASE_DIGEST_H
#define HIPPOCAMP_BASE_DIGEST_H

#include "base/bytes.h"

#define DIGEST_SIZE_MAX 32

/* A digest, or the value of a keyed hash. */
struct digest_value {
	uint8_t bytes[DIGEST_SIZE_MAX]; /* zero from `length` on */
	uint8_t length;
};

struct digest;

/* For one thread at a time. NULL when memory runs out. */
struct digest *digest_new(void);
void digest_free(struct digest *digest);

/* Digests the concatenation of the added bytes. digest_end resets the state for the next digest; it aborts the process
 * if OpenSSL failed. */
void digest_add(struct digest *digest, struct bytes bytes);
void digest_end(struct digest *digest, struct digest_value *value);

/* Digests `bytes` in one call. Any thread. False when memory runs out. */
bool digest_once(struct bytes bytes, struct digest_value *value);

/* XXH3-64 without a secret: a checksum against accidental damage, and a hash for tables. Anyone can find collisions. */
uint64_t checksum64(struct bytes bytes);

/* Lower-case hexadecimal; `text` has room for 2 * bytes.length + 1. */
void hex_text(struct bytes bytes, char *text);

/* Random bytes from the kernel (getrandom). Never fails. */
void random_bytes(void *at, size_t length);

#endif
