/*
 * A response as Triton packs it for a cache, in host byte order, without magic, version or checksum:
 *
 *     u32 outputs, and for each:
 *     u64 bytes of what follows
 *     u32 length, name        u32 length, datatype ("INT32")        u32 8 × rank, i64 dimensions
 *     u64 length, data (BYTES: each element its length as u32, then its bytes)
 *
 * (CacheEntry::SerializeResponse and SerializeResponseOutput of triton-inference-server/core.) Triton checks nothing
 * when it unpacks one: a length that lies ends the server. So nothing is given to it that was not walked here.
 */
#ifndef HIPPOCAMP_PLUGINS_PACKED_H
#define HIPPOCAMP_PLUGINS_PACKED_H

#include "base/bytes.h"

enum packed_verdict {
	PACKED_GOOD,
	PACKED_EMPTY,	  /* no outputs: Triton packs an error so */
	PACKED_MALFORMED, /* lengths, datatype, shape and data do not belong together, or there is something behind */
};

/* All lengths, the exact end, known datatypes, the data as long as shape and datatype say, strings in their frames. */
enum packed_verdict packed_check(struct bytes packed);

#endif
