/*
 * The entries that a plug-in keeps: a header, followed by the response as Triton packed it (packed.h). The header says
 * which key the response answers and proves that it is undamaged; Triton's packing does neither.
 *
 * - u32 magic "HCTR", u16 version, u16 zero;
 * - 16 bytes of seal over all bytes after it: with a secret, the 16 bytes of a MAC (base/keyed_hash.h,
 *   KEYED_HASH_GHASH), so that nobody without the secret can make an entry; without, XXH3-64 against damage, and zeros;
 * - u64 length of the whole entry in bytes;
 * - u64 time of creation, in milliseconds since 1970-01-01 UTC;
 * - u64 time of expiry, likewise; 0: never;
 * - 16 bytes of digest of the key in the store.
 *
 * Numbers are in host byte order, which is little-endian wherever Triton runs.
 */
#ifndef HIPPOCAMP_PLUGINS_ENTRY_H
#define HIPPOCAMP_PLUGINS_ENTRY_H

#include "base/blob.h"
#include "base/keyed_hash.h"

#define PLUGIN_ENTRY_HEADER 64
#define PLUGIN_ENTRY_DIGEST 16

/* A new entry with room for a response of `length` bytes, which the caller fills. NULL where there is no memory. */
struct blob *plugin_entry_new(size_t length);

/* The response in an entry that is new or was checked. */
struct bytes plugin_entry_response(const struct blob *entry);

/*
 * Completes the header of a filled entry, which must not change afterwards. `lifetime_ms` 0: no end. `key` NULL: there
 * is no secret. False where there is no memory; then the entry must not be stored, since readers would reject it.
 */
bool plugin_entry_seal(struct blob *entry, const struct keyed_hash_key *key, const struct digest_value *digest,
		       uint64_t now_ms, uint64_t lifetime_ms);

enum plugin_entry_verdict {
	PLUGIN_ENTRY_GOOD,
	PLUGIN_ENTRY_CORRUPT, /* truncated, damaged, of another format, or with a response that must not go to Triton */
	PLUGIN_ENTRY_WRONG_MAC, /* altered, or made without the secret */
	PLUGIN_ENTRY_MISPLACED, /* intact, but the answer to another key */
	PLUGIN_ENTRY_EXPIRED,
};

/* Checks an entry from any source. `remaining_ms` gets the time until it expires, 0: no end; may be NULL. */
enum plugin_entry_verdict plugin_entry_check(const struct blob *entry, const struct keyed_hash_key *key,
					     const struct digest_value *digest, uint64_t now_ms,
					     uint64_t *remaining_ms);

#endif
