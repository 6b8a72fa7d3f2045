/*
 * SHA-256 (FIPS 180-4) of public bytes: model files, configurations, generations. Nobody can find two inputs of one
 * digest; nothing in here is secret. For keys and authentication see keyed_hash.h.
 *
 * Also what has no better home: a checksum against accidents, hexadecimal text, random bytes.
 */
#ifndef HIPPOCAMP_BASE_DIGEST_H
#define HIPPOCAMP_BASE_DIGEST_H

#include "base/bytes.h"

#define DIGEST_SIZE_MAX 32

/* A digest, or the value of a keyed hash. */
struct digest_value {
	uint8_t bytes[DIGEST_SIZE_MAX]; /* zeros behind `length` */
	uint8_t length;
};

struct digest;

/* One thread at a time. NULL without memory. */
struct digest *digest_new(void);
void digest_free(struct digest *digest);

/* A function of the concatenation of the bytes that were added; digest_end leaves the state ready for a next one. */
void digest_add(struct digest *digest, struct bytes bytes);
void digest_end(struct digest *digest, struct digest_value *value);

/* All at once. Any thread. False without memory. */
bool digest_once(struct bytes bytes, struct digest_value *value);

/* XXH3-64 without a secret: a checksum against damage, and a hash for tables. Anyone can make it collide. */
uint64_t checksum64(struct bytes bytes);

/* Lower-case hexadecimal; `text` has room for 2 * bytes.length + 1. */
void hex_text(struct bytes bytes, char *text);

/* From the kernel (getrandom), never fails. */
void random_bytes(void *at, size_t length);

#endif
