/*
 * Packs (compresses) values before they go to Redis and unpacks them when they come back: with LZ4, with zstd, or for
 * each model with whichever pays (`auto`).
 *
 * Packing pays if it saves at least an eighth of the bytes; otherwise the value is stored as it is, as are values
 * shorter than `minimum` or longer than `plain_max`. `auto` tries both codecs on samples of a model's values: the first
 * four, then one in 256, and of a long value a piece from its middle. It goes from none to LZ4 to zstd, where each step
 * must save another eighth. Each new sample halves the weight of the older ones. Values that cannot be packed thus cost
 * next to nothing, and `auto` follows a model whose values change.
 *
 * Values read from Redis are untrusted. A packed value is a header of 24 bytes, little-endian, followed by the codec's
 * output:
 *
 *	 0  "HMCZ"
 *	 4  version, 2 bytes
 *	 6  codec, 2 bytes: enum packing_codec; PACKING_NONE for a plain value that itself begins with the magic
 *	 8  length of the plain value, 8 bytes
 *	16  checksum, 8 bytes: XXH3-64 of this header with the XXH3-64 of the codec's output in this field
 *
 * LZ4's output is one block; zstd's is one frame that states its content size. Nothing is allocated or decompressed
 * before the checksum matches and the plain length is possible: at most `plain_max`, at most what the codec's format
 * can hold in that many bytes, and for zstd what its frame states.
 *
 * Threads: a `struct packing` belongs to the whole store and may be used on any thread, a lane on one. Unpacking takes
 * no lock; packing takes one for each sample and for a model's first value.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_PACKING_H
#define HIPPOCAMP_CACHES_REDIS_PACKING_H

#include "base/blob.h"
#include "base/metric.h"

#define PACKING_HEADER_SIZE 24

/* These numbers are stored in packed values. */
enum packing_codec {
	PACKING_NONE = 0,
	PACKING_LZ4 = 1,
	PACKING_ZSTD = 2,
	PACKING_AUTO = 3, /* only as an option */
};

struct packing_options {
	enum packing_codec codec; /* used to pack; values of every codec are unpacked */
	int level;		  /* of zstd, 1 to 9, also if `auto` chooses it; LZ4 has one level only */
	size_t minimum;		  /* bytes; shorter values are not packed */
	size_t plain_max;	  /* bytes; longer values are neither packed nor unpacked */
};

struct packing;
struct packing_lane;

/* Returns NULL if memory runs out. Free all lanes before the packing. */
struct packing *packing_new(const struct packing_options *options);
void packing_free(struct packing *packing);

/*
 * A lane keeps the codecs' states for reuse, each allocated when first needed: 16 KiB for LZ4, 100 KiB to decompress
 * zstd, and half a MiB (level 1) to 13 MiB (level 9) to compress it. Returns NULL if memory runs out.
 */
struct packing_lane *packing_lane_new(struct packing *packing);
void packing_lane_free(struct packing_lane *lane); /* NULL is fine */

/*
 * Returns what to store for `value`, as a reference that the caller owns: the packed form, or `value` itself if packing
 * does not pay or memory runs out. `scope` is as in struct cache_key.
 */
struct blob *packing_pack(struct packing_lane *lane, struct bytes scope, struct blob *value);

/*
 * Takes over the reference to `value` and returns one that the caller owns. A value that is not packed is returned as
 * it is. Returns NULL and counts a failure if the value is truncated, damaged, too long, or of an unknown version or
 * codec, or if memory runs out.
 */
struct blob *packing_unpack(struct packing_lane *lane, struct blob *value);

/* Whether the work takes about half a millisecond or more. Do it then on another thread, with a lane of its own. */
bool packing_packs_long(const struct packing *packing, size_t length);
bool packing_unpacks_long(struct bytes value);

/* The plain length that the header of a packed value states, but at most `plain_max`. */
size_t packing_plain_length(const struct packing *packing, struct bytes value);

/* Writes the checksum of a packed value; `length` is at least PACKING_HEADER_SIZE. */
void packing_seal(uint8_t *packed, size_t length);

/*
 * Why packing_unpack failed: true if the value is truncated or its checksum is wrong; false if, for example, memory ran
 * out or the codec is newer.
 */
bool packing_is_damaged(struct bytes value);

/*
 * Emits the metrics of each model and the count of unpack failures; models beyond the 1024th share those of the model
 * "". Any thread.
 */
void packing_metrics(struct packing *packing, const struct metric_sink *sink);

#endif
