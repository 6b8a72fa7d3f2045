/*
 * A response as Triton packs it for a cache, in host byte order, without magic, version or checksum:
 *
 *     u32 outputs, and for each:
 *     u64 bytes of what follows
 *     u32 length, name        u32 length, datatype ("INT32")        u32 8 × rank, i64 dimensions
 *     u64 length, data (BYTES: each element its length as u32, then its bytes)
 *
 * (CacheEntry::SerializeResponse and SerializeResponseOutput of triton-inference-server/core.) Triton checks nothing
 * when it unpacks one: a wrong length crashes the server. So every response is checked here first.
 */
#ifndef HIPPOCAMP_PLUGINS_PACKED_H
#define HIPPOCAMP_PLUGINS_PACKED_H

#include "base/bytes.h"

enum packed_verdict {
	PACKED_GOOD,
	PACKED_EMPTY,	  /* no outputs: how Triton packs an error */
	PACKED_MALFORMED, /* lengths, datatype, shape and data do not match, or bytes follow the last output */
};

/* Checks lengths, the exact end, datatypes, the size of the data by shape and datatype, and the frames of strings. */
enum packed_verdict packed_check(struct bytes packed);

#endif
