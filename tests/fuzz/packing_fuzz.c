/*
 * Unpacks a packed value from Redis, its checksum corrected first, since no fuzzer guesses one. Then packs the same
 * bytes with every codec and unpacks them, which must restore them.
 */
#include "caches/redis/packing.h"

#include <stdlib.h>

#define PLAIN_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
unpack(struct packing_lane *lane, struct bytes bytes)
{
	struct blob *packed = blob_copy(bytes);

	if (bytes.length >= PACKING_HEADER_SIZE) {
		packing_seal(packed->data, packed->length);
	}
	packed = packing_unpack(lane, packed);
	if (packed != NULL && packed->length > PLAIN_MAX && packed->length > bytes.length) {
		abort();
	}
	blob_unref(packed);
}

static void
round_trip(struct packing_lane *lane, struct bytes bytes)
{
	struct blob *value = blob_copy(bytes);
	struct blob *packed = packing_pack(lane, bytes_text("m:1:f"), value);
	struct blob *plain = packing_unpack(lane, packed);

	if (plain == NULL || !bytes_equal(blob_bytes(plain), bytes)) {
		abort();
	}
	blob_unref(plain);
	blob_unref(value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes bytes = bytes_make(data, size);

	for (enum packing_codec codec = PACKING_NONE; codec <= PACKING_AUTO; codec++) {
		struct packing_options options = {.codec = codec, .level = 1, .plain_max = PLAIN_MAX};
		struct packing *packing = packing_new(&options);
		struct packing_lane *lane = packing_lane_new(packing);

		if (codec == PACKING_NONE) {
			unpack(lane, bytes);
		}
		round_trip(lane, bytes);
		packing_lane_free(lane);
		packing_free(packing);
	}
	return 0;
}
