#include "plugins/entry.h"

#include "plugins/packed.h"

#define MAGIC 0x52544348U /* "HCTR" */
#define VERSION 2
#define SEAL_SIZE 16

struct entry_header {
	uint32_t magic;
	uint16_t version;
	uint16_t reserved;
	uint8_t seal[SEAL_SIZE];
	uint64_t length;
	uint64_t created_ms;
	uint64_t expires_ms;
	uint8_t digest[PLUGIN_ENTRY_DIGEST];
};

_Static_assert(sizeof(struct entry_header) == PLUGIN_ENTRY_HEADER, "the layout of entries is fixed");

#define CHECKED_FROM (offsetof(struct entry_header, seal) + SEAL_SIZE)

struct blob *
plugin_entry_new(size_t length)
{
	size_t total;

	return __builtin_add_overflow(length, sizeof(struct entry_header), &total) ? NULL : blob_new(total);
}

struct bytes
plugin_entry_response(const struct blob *entry)
{
	return bytes_skip(blob_bytes(entry), sizeof(struct entry_header));
}

static uint64_t
checksum_of(const struct blob *entry)
{
	return checksum64(bytes_skip(blob_bytes(entry), CHECKED_FROM));
}

bool
plugin_entry_seal(struct blob *entry, const struct keyed_hash_key *key, const struct digest_value *digest,
		  uint64_t now_ms, uint64_t lifetime_ms)
{
	struct entry_header *header = (struct entry_header *)entry->data;
	struct digest_value value;
	struct keyed_hash *mac;
	uint64_t checksum;
	bool good;

	*header = (struct entry_header){
		.magic = MAGIC,
		.version = VERSION,
		.length = entry->length,
		.created_ms = now_ms,
		.expires_ms = lifetime_ms == 0 ? 0 : now_ms + lifetime_ms,
	};
	memcpy(header->digest, digest->bytes, sizeof(header->digest));
	if (key == NULL) {
		checksum = checksum_of(entry);
		memcpy(header->seal, &checksum, sizeof(checksum));
		return true;
	}
	mac = keyed_hash_new(KEYED_HASH_GHASH, key);
	good = mac != NULL && keyed_hash_once(mac, bytes_skip(blob_bytes(entry), CHECKED_FROM), &value);
	keyed_hash_free(mac);
	if (good) {
		memcpy(header->seal, value.bytes, SEAL_SIZE);
	}
	return good;
}

/* Threads of the host come and go, so the state of the MAC lives as long as one call. */
static bool
is_sealed(const struct blob *entry, const struct keyed_hash_key *key, const uint8_t *seal)
{
	struct keyed_hash *mac;
	uint8_t expected[SEAL_SIZE] = {0};
	uint64_t checksum;
	bool good;

	if (key == NULL) {
		checksum = checksum_of(entry);
		memcpy(expected, &checksum, sizeof(checksum));
		return memcmp(expected, seal, SEAL_SIZE) == 0;
	}
	mac = keyed_hash_new(KEYED_HASH_GHASH, key);
	good = mac != NULL &&
	       keyed_hash_verify(mac, bytes_skip(blob_bytes(entry), CHECKED_FROM), bytes_make(seal, SEAL_SIZE));
	keyed_hash_free(mac);
	return good;
}

enum plugin_entry_verdict
plugin_entry_check(const struct blob *entry, const struct keyed_hash_key *key, const struct digest_value *digest,
		   uint64_t now_ms, uint64_t *remaining_ms)
{
	struct entry_header header;

	if (entry->length < sizeof(header)) {
		return PLUGIN_ENTRY_CORRUPT;
	}
	memcpy(&header, entry->data, sizeof(header)); /* whoever gave us the blob need not have aligned it */
	if (header.magic != MAGIC || header.version != VERSION || header.length != entry->length) {
		return PLUGIN_ENTRY_CORRUPT;
	}
	if (!is_sealed(entry, key, header.seal)) {
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
