/* A value from Redis. Its checksum is made right first, since no fuzzer guesses one: what lies behind it must hold. */
#include "inference/entry.h"

#include <stdlib.h>

#define HEADER_SIZE 80

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blob *entry = blob_copy(bytes_make(data, size));

	if (size >= HEADER_SIZE) {
		entry_seal(entry, NULL, &(struct freshness_entry){.created_ms = 1, .cost_us = 1});
	}
	if (entry_valid(blob_bytes(entry))) {
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
	return 0;
}
