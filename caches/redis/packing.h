/*
 * Values made smaller before they go to Redis, and made whole when they come back: LZ4 or zstd, or for each model
 * whichever pays (`auto`).
 *
 * Packing pays where it saves an eighth of the bytes; a value that it saves less on goes to Redis as it is, and so do
 * values shorter than `minimum` or longer than `plain_max`. `auto` tries both codecs on samples of a model's values
 * (the first four, then one in 256; of a long one, a piece out of its middle) and climbs from none to LZ4 to zstd,
 * where each step has to save another eighth. Older samples count half as much with each new one. So values that
 * cannot be packed cost next to nothing, and a model whose values change is noticed.
 *
 * What comes back is untrusted. A packed value is a header of 24 bytes, little-endian, and the codec's output:
 *
 *	 0  "HMCZ"
 *	 4  version, 2 bytes
 *	 6  codec, 2 bytes: enum packing_codec; PACKING_NONE for a value that is stored whole but begins with the magic
 *	 8  length of the plain value, 8 bytes
 *	16  checksum, 8 bytes: XXH3-64 of this header with the XXH3-64 of all behind it in this place
 *
 * LZ4's output is one block, zstd's is one frame that knows its length. Nothing is allocated, and no codec sees a byte,
 * before checksum and lengths are found to be possible: at most `plain_max`, what the codec's format can hold in so
 * few bytes, and for zstd what its frame says.
 *
 * Threads: a `struct packing` is of the whole store and may be used on any thread, a lane on one. Unpacking takes no
 * lock; packing takes one for a sample and for a model's first value.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_PACKING_H
#define HIPPOCAMP_CACHES_REDIS_PACKING_H

#include "base/blob.h"
#include "base/metric.h"

#define PACKING_HEADER_SIZE 24

/* The numbers stand in packed values. */
enum packing_codec {
	PACKING_NONE = 0,
	PACKING_LZ4 = 1,
	PACKING_ZSTD = 2,
	PACKING_AUTO = 3, /* only as an option */
};

struct packing_options {
	enum packing_codec codec; /* for packing; every codec is unpacked */
	int level;		  /* of zstd, 1 to 9, also where `auto` takes it; LZ4 has one only */
	size_t minimum;		  /* shorter values are not packed */
	size_t plain_max;	  /* no value unpacks to more */
};

struct packing;
struct packing_lane;

/* NULL without memory. Its lanes are freed before it is. */
struct packing *packing_new(const struct packing_options *options);
void packing_free(struct packing *packing);

/*
 * Keeps the codecs' states for reuse, made when first needed: 16 KiB for LZ4, 100 KiB to read zstd, and to write it
 * from half a MiB (level 1) to 13 MiB (level 9).
 */
struct packing_lane *packing_lane_new(struct packing *packing);
void packing_lane_free(struct packing_lane *lane); /* NULL is fine */

/*
 * What goes to Redis for this value, a reference for the caller: the packed form, or `value` itself where packing does
 * not pay or there is no memory. `scope` is as in struct cache_key.
 */
struct blob *packing_pack(struct packing_lane *lane, struct bytes scope, struct blob *value);

/*
 * Takes the reference it is given; what it returns is the caller's. A value that is not packed comes back as it is.
 * NULL, and counted: torn, damaged, of a version or codec unknown here, longer than it may be, or no memory.
 */
struct blob *packing_unpack(struct packing_lane *lane, struct blob *value);

/* Does it take more than a moment? Then it is to be done on another thread, with a lane for that alone. */
bool packing_packs_long(const struct packing *packing, size_t length);
bool packing_unpacks_long(struct bytes value);

/* How long a packed value says that it is unpacked. */
size_t packing_plain_length(const struct packing *packing, struct bytes value);

/* Makes the checksum of a packed value right; `length` is at least PACKING_HEADER_SIZE. */
void packing_seal(uint8_t *packed, size_t length);

/* A value that could not be unpacked: is that the value's fault, and not of the memory or of a newer codec? */
bool packing_is_damaged(struct bytes value);

/* A model's figures; models beyond the 1024th share those of the model "". Any thread. */
void packing_metrics(struct packing *packing, const struct metric_sink *sink);

#endif
