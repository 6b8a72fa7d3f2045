/*
 * Checks an entry that a plug-in finds in Redis: first the bytes as they are, then behind a valid header, since no
 * fuzzer guesses a checksum.
 */
#include "plugins/entry.h"
#include "plugins/packed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct digest_value digest = {.length = PLUGIN_ENTRY_DIGEST};
	struct blob *entry = blob_copy(bytes_make(data, size));

	(void)plugin_entry_check(entry, NULL, &digest, 1, NULL);
	blob_unref(entry);
	entry = plugin_entry_new(size);
	if (size > 0) {
		memcpy(entry->data + PLUGIN_ENTRY_HEADER, data, size);
	}
	(void)plugin_entry_seal(entry, NULL, &digest, 1, 0);
	if ((plugin_entry_check(entry, NULL, &digest, 2, NULL) == PLUGIN_ENTRY_GOOD) !=
	    (packed_check(bytes_make(data, size)) == PACKED_GOOD)) {
		__builtin_trap();
	}
	blob_unref(entry);
	return 0;
}
