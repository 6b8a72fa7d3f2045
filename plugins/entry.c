#include "plugins/entry.h"

#include "plugins/packed.h"

#define MAGIC 0x52544348U /* "HCTR" */
#define VERSION 1

struct header {
	uint32_t magic;
	uint16_t version;
	uint16_t reserved;
	uint64_t checksum;
	uint64_t length;
	uint64_t created_ms;
	uint64_t expires_ms;
	uint8_t digest[PLUGIN_ENTRY_DIGEST];
	uint64_t reserved_too;
};

_Static_assert(sizeof(struct header) == PLUGIN_ENTRY_HEADER, "the layout of entries is fixed");

#define CHECKED_FROM (offsetof(struct header, checksum) + sizeof(uint64_t))

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

static uint64_t
checksum(const struct blob *entry)
{
	return checksum64(bytes_skip(blob_bytes(entry), CHECKED_FROM));
}

void
plugin_entry_seal(struct blob *entry, const struct digest_value *digest, uint64_t now_ms, uint64_t lifetime_ms)
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
	header->checksum = checksum(entry);
}

enum plugin_entry_verdict
plugin_entry_check(const struct blob *entry, const struct digest_value *digest, uint64_t now_ms, uint64_t *remaining_ms)
{
	struct header header;

	if (entry->length < sizeof(header)) {
		return PLUGIN_ENTRY_CORRUPT;
	}
	memcpy(&header, entry->data, sizeof(header)); /* whoever gave us the blob need not have aligned it */
	if (header.magic != MAGIC || header.version != VERSION || header.length != entry->length ||
	    header.checksum != checksum(entry)) {
		return PLUGIN_ENTRY_CORRUPT;
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
