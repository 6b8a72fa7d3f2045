#include "plugins/entry.h"

#include "plugins/packed.h"

#define MAGIC 0x52544348U /* "HCTR" */
#define VERSION 2
#define SEAL_SIZE 16

struct header {
	uint32_t magic;
	uint16_t version;
	uint16_t reserved;
	uint8_t seal[SEAL_SIZE];
	uint64_t length;
	uint64_t created_ms;
	uint64_t expires_ms;
	uint8_t digest[PLUGIN_ENTRY_DIGEST];
};

_Static_assert(sizeof(struct header) == PLUGIN_ENTRY_HEADER, "the layout of entries is fixed");

#define CHECKED_FROM (offsetof(struct header, seal) + SEAL_SIZE)

struct blob *
plugin_entry_new(size_t length)
{
	size_t total;

	return __builtin_add_overflow(length, sizeof(struct header), &total) ? NULL : blob_new(total);
}

struct bytes
plugin_entry_response(const struct blob *entry)
{
	return bytes_skip(blob_bytes(entry), sizeof(struct header));
}

/* Threads of the host's come and go, so that the state lives as long as one call. */
static bool
seal_of(const struct blob *entry, const struct keyed_hash_key *key, uint8_t *seal)
{
	struct bytes sealed = bytes_skip(blob_bytes(entry), CHECKED_FROM);
	struct keyed_hash *mac;
	struct digest_value value = {0};
	uint64_t checksum;
	bool good = true;

	if (key == NULL) {
		checksum = checksum64(sealed);
		memcpy(value.bytes, &checksum, sizeof(checksum));
	} else {
		mac = keyed_hash_new(KEYED_HASH_GHASH, key);
		good = mac != NULL && keyed_hash_once(mac, sealed, &value);
		keyed_hash_free(mac);
	}
	memcpy(seal, value.bytes, SEAL_SIZE);
	return good;
}

bool
plugin_entry_seal(struct blob *entry, const struct keyed_hash_key *key, const struct digest_value *digest,
		  uint64_t now_ms, uint64_t lifetime_ms)
{
	struct header *header = (struct header *)entry->data;

	*header = (struct header){
		.magic = MAGIC,
		.version = VERSION,
		.length = entry->length,
		.created_ms = now_ms,
		.expires_ms = lifetime_ms == 0 ? 0 : now_ms + lifetime_ms,
	};
	memcpy(header->digest, digest->bytes, sizeof(header->digest));
	return seal_of(entry, key, header->seal);
}

/* In a time that does not tell where they differ. */
static bool
same_seal(const uint8_t *a, const uint8_t *b)
{
	unsigned different = 0;

	for (size_t i = 0; i < SEAL_SIZE; i++) {
		different |= (unsigned)(a[i] ^ b[i]);
	}
	return different == 0;
}

enum plugin_entry_verdict
plugin_entry_check(const struct blob *entry, const struct keyed_hash_key *key, const struct digest_value *digest,
		   uint64_t now_ms, uint64_t *remaining_ms)
{
	uint8_t seal[SEAL_SIZE];
	struct header header;

	if (entry->length < sizeof(header)) {
		return PLUGIN_ENTRY_CORRUPT;
	}
	memcpy(&header, entry->data, sizeof(header)); /* whoever gave us the blob need not have aligned it */
	if (header.magic != MAGIC || header.version != VERSION || header.length != entry->length) {
		return PLUGIN_ENTRY_CORRUPT;
	}
	if (!seal_of(entry, key, seal) || !same_seal(seal, header.seal)) {
		return key == NULL ? PLUGIN_ENTRY_CORRUPT : PLUGIN_ENTRY_WRONG_MAC;
	}
	if (memcmp(header.digest, digest->bytes, sizeof(header.digest)) != 0) {
		return PLUGIN_ENTRY_MISPLACED;
	}
	if (header.expires_ms != 0 && header.expires_ms <= now_ms) {
		return PLUGIN_ENTRY_EXPIRED;
	}
	if (packed_check(plugin_entry_response(entry)) != PACKED_GOOD) {
		return PLUGIN_ENTRY_CORRUPT;
	}
	if (remaining_ms != NULL) {
		*remaining_ms = header.expires_ms == 0 ? 0 : header.expires_ms - now_ms;
	}
	return PLUGIN_ENTRY_GOOD;
}
