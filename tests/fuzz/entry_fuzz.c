/*
 * Checks a value from Redis, then seals it, since no fuzzer guesses a MAC, checks it again, and reads the outputs of a
 * good one.
 */
#include "inference/cache/entry.h"

#include <stdlib.h>

#define HEADER_SIZE 96

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct keyed_hash_key key;
	struct keyed_hash *mac = keyed_hash_new(KEYED_HASH_GHASH, &key);
	struct blob *entry = blob_copy(bytes_make(data, size));

	(void)entry_check(blob_bytes(entry), mac);
	if (size >= HEADER_SIZE) {
		entry_seal(entry, NULL, &(struct freshness_entry){.created_ms = 1, .cost_us = 1});
		(void)entry_authenticate(entry, mac);
	}
	if (entry_check(blob_bytes(entry), mac) == ENTRY_GOOD) {
		for (size_t i = 0; i < entry_output_count(entry); i++) {
			struct tensor tensor = entry_output(entry, i);

			(void)checksum64(tensor.name);
			(void)checksum64(tensor.data);
			while (tensor.datatype == DATATYPE_BYTES && tensor.data.length > 0) {
				(void)checksum64(tensor_next_string(&tensor.data));
			}
		}
	}
	blob_unref(entry);
	keyed_hash_free(mac);
	return 0;
}
