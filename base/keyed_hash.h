/*
 * Keyed hashes: functions of bytes that, to whoever does not have the key, look random (pseudo-random functions). So
 * nobody who may choose inputs, even one by one and by what came of the others, finds two of the same value, and nobody
 * makes a value for bytes of which he has not been given it. They name answers in the cache (inference/cache/key.h) and
 * authenticate entries (inference/cache/entry.h). The argument is written in
 * docs/decisions/0001-keys-that-nobody-can-forge.md.
 *
 * - KEYED_HASH_GHASH, 16 bytes. Up to KEYED_HASH_SHORT bytes: SipHash-2-4 with 128 bits of output (Aumasson and
 *   Bernstein, 2012; libsodium). Longer: the polynomial hash of GCM (NIST SP 800-38D: the tag of AES-128-GCM over the
 *   bytes as additional data, under a fixed nonce; OpenSSL), which is never shown: its 16 bytes and the length (64
 *   bits, little-endian) go through SipHash-2-4-128 under a third key. Two different inputs of at most L bytes meet in
 *   the polynomial with a probability of at most (L / 16 + 2) / 2^128 (McGrew and Viega, 2004).
 * - KEYED_HASH_SHA256, 32 bytes: HMAC-SHA-256 (RFC 2104, FIPS 198-1), for those whose rules ask for it.
 */
#ifndef HIPPOCAMP_BASE_KEYED_HASH_H
#define HIPPOCAMP_BASE_KEYED_HASH_H

#include "base/digest.h"

#define KEYED_HASH_SHORT 512
#define KEYED_HASH_KEY 64

enum keyed_hash_kind { KEYED_HASH_GHASH, KEYED_HASH_SHA256 };

/* The name that belongs to what the hash is used for: "ghash", "sha256". */
const char *keyed_hash_name(enum keyed_hash_kind kind);

struct keyed_hash_key {
	uint8_t bytes[KEYED_HASH_KEY];
};

/*
 * A key out of a secret of any length: HMAC-SHA-512 of `purpose` under it. Keys of different purposes are independent
 * of each other.
 */
void keyed_hash_derive(struct keyed_hash_key *key, struct bytes secret, const char *purpose);

struct keyed_hash;

/* A state for one key, which is worth keeping: it is set up when first used. One thread at a time. NULL without memory.
 */
struct keyed_hash *keyed_hash_new(enum keyed_hash_kind kind, const struct keyed_hash_key *key);
void keyed_hash_free(struct keyed_hash *hash); /* NULL is fine */

/*
 * A function of the concatenation of the bytes that were added since the start. keyed_hash_end is false where OpenSSL
 * had no memory; then there is no value.
 */
void keyed_hash_start(struct keyed_hash *hash);
void keyed_hash_add(struct keyed_hash *hash, struct bytes bytes);
bool keyed_hash_end(struct keyed_hash *hash, struct digest_value *value);

/* All at once; the same value. */
bool keyed_hash_once(struct keyed_hash *hash, struct bytes bytes, struct digest_value *value);

/* Are the first bytes of the value these? In a time that does not tell where they differ. */
bool keyed_hash_verify(struct keyed_hash *hash, struct bytes bytes, struct bytes mac);

#endif
