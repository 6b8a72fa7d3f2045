/*
 * Keyed hashes: pseudo-random functions, whose values look random to anyone without the key. Without the key, nobody
 * finds two inputs of the same value, even by adaptively chosen inputs, and nobody produces the value of an input
 * without having been given it. They name answers in the cache (inference/cache/key.h) and authenticate entries
 * (inference/cache/entry.h). docs/decisions/0001-keys-that-nobody-can-forge.md gives the argument.
 *
 * - KEYED_HASH_GHASH, 16 bytes. Up to KEYED_HASH_SHORT bytes: SipHash-2-4 with 128 bits of output (Aumasson and
 *   Bernstein, 2012; libsodium). Longer: the polynomial hash of GCM (NIST SP 800-38D: the tag of AES-128-GCM over the
 *   bytes as additional data, under a fixed nonce; OpenSSL). The tag stays secret: its 16 bytes and the length (64
 *   bits, little-endian) go through SipHash-2-4-128 under a third key. Two different inputs of at most L bytes get the
 *   same tag with a probability of at most (L / 16 + 2) / 2^128 (McGrew and Viega, 2004).
 * - KEYED_HASH_SHA256, 32 bytes: HMAC-SHA-256 (RFC 2104, FIPS 198-1), for sites whose policy requires it.
 */
#ifndef HIPPOCAMP_BASE_KEYED_HASH_H
#define HIPPOCAMP_BASE_KEYED_HASH_H

#include "base/digest.h"

#define KEYED_HASH_SHORT 512
#define KEYED_HASH_KEY 64

enum keyed_hash_kind { KEYED_HASH_GHASH, KEYED_HASH_SHA256 };

/* Returns "ghash" or "sha256". Cache keys include this name. */
const char *keyed_hash_name(enum keyed_hash_kind kind);

struct keyed_hash_key {
	uint8_t bytes[KEYED_HASH_KEY];
};

/*
 * Derives a key from a secret of any length: HMAC-SHA-512 of `purpose` under the secret. Keys of different purposes are
 * independent of each other. Aborts the process if OpenSSL fails.
 */
void keyed_hash_derive(struct keyed_hash_key *key, struct bytes secret, const char *purpose);

struct keyed_hash;

/* A state for one key, for one thread at a time. Keep it: its first use sets up OpenSSL's context. Returns NULL when
 * memory runs out. */
struct keyed_hash *keyed_hash_new(enum keyed_hash_kind kind, const struct keyed_hash_key *key);
void keyed_hash_free(struct keyed_hash *hash); /* `hash` may be NULL */

/*
 * Hashes the concatenation of the bytes added since keyed_hash_start. keyed_hash_end returns false, without a value, if
 * OpenSSL ran out of memory.
 */
void keyed_hash_start(struct keyed_hash *hash);
void keyed_hash_add(struct keyed_hash *hash, struct bytes bytes);
bool keyed_hash_end(struct keyed_hash *hash, struct digest_value *value);

/* Computes the same value in one call. */
bool keyed_hash_once(struct keyed_hash *hash, struct bytes bytes, struct digest_value *value);

/* True if `mac` equals the first bytes of the value of `bytes`. Compares in constant time. */
bool keyed_hash_verify(struct keyed_hash *hash, struct bytes bytes, struct bytes mac);

#endif
