/*
 * What a plug-in keeps: a header, and behind it the response as Triton packed it (packed.h). The header says whose
 * answer it is and proves that it came through whole, which Triton's packing does not.
 *
 * - u32 magic "HCTR", u16 version, u16 zero;
 * - 16 bytes of seal over all bytes behind it: with a secret a MAC (base/keyed_hash.h, its first 16 bytes), so that
 *   nobody makes an entry who has not the secret; without, XXH3-64 against damage, and zeros;
 * - u64 length of the whole entry;
 * - u64 created, in milliseconds since 1970-01-01 UTC;
 * - u64 expires, the same; 0: never;
 * - 16 bytes of digest of the key that it is kept under.
 *
 * Numbers are in host byte order, which is little-endian wherever Triton runs.
 */
#ifndef HIPPOCAMP_PLUGINS_ENTRY_H
#define HIPPOCAMP_PLUGINS_ENTRY_H

#include "base/blob.h"
#include "base/keyed_hash.h"

#define PLUGIN_ENTRY_HEADER 64
#define PLUGIN_ENTRY_DIGEST 16

/* Room for a response of that many bytes, which the caller fills. NULL where there is no memory. */
struct blob *plugin_entry_new(size_t length);

/* The response in an entry; of plugin_entry_new, or one that was checked. */
struct bytes plugin_entry_response(const struct blob *entry);

/*
 * Completes the header of a filled entry, after which nobody writes to it. `lifetime_ms` 0: no end. `key` NULL: there
 * is no secret. False without memory: then the entry is no good.
 */
bool plugin_entry_seal(struct blob *entry, const struct keyed_hash_key *key, const struct digest_value *digest,
		       uint64_t now_ms, uint64_t lifetime_ms);

enum plugin_entry_verdict {
	PLUGIN_ENTRY_GOOD,
	PLUGIN_ENTRY_CORRUPT, /* short, torn, damaged, of another format, or no response that may be given to Triton */
	PLUGIN_ENTRY_WRONG_MAC, /* altered, or made without the secret */
	PLUGIN_ENTRY_MISPLACED, /* whole, and the answer to another key */
	PLUGIN_ENTRY_EXPIRED,
};

/* Of bytes from anywhere. `remaining_ms`: how long it stays good, 0: no end; may be NULL. */
enum plugin_entry_verdict plugin_entry_check(const struct blob *entry, const struct keyed_hash_key *key,
					     const struct digest_value *digest, uint64_t now_ms,
					     uint64_t *remaining_ms);

#endif
