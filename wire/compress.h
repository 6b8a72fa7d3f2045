/*
 * gzip (RFC 1952) and zlib (RFC 1950, HTTP's "deflate") in one call each.
 */
#ifndef HIPPOCAMP_WIRE_COMPRESS_H
#define HIPPOCAMP_WIRE_COMPRESS_H

#include "base/buf.h"
#include "base/status.h"

enum coding { CODING_IDENTITY, CODING_GZIP, CODING_DEFLATE, CODING_UNKNOWN };

const char *coding_name(enum coding coding);

/* A Content-Encoding field's value; absent or empty is identity. */
enum coding coding_from_name(struct bytes name);

/*
 * The coding to answer with: of identity, gzip and deflate the one with the highest q in an Accept-Encoding field
 * (RFC 9110 section 12.5.3), the first where several are equal, identity where none is named.
 */
enum coding coding_negotiate(struct bytes accept_encoding);

/*
 * Unpacks into `out`, whose maximum bounds what a small body may grow to. What unpacks to more than COMPRESS_RATIO_MAX
 * times its size is refused, too, beyond the first 8 MiB: masks and padding may be that empty, but are not that long.
 * Trailing bytes are an error.
 */
#define COMPRESS_RATIO_MAX 512
enum status decompress(enum coding coding, struct bytes input, struct buf *out, struct error *error);

/* Packs the pieces one after the other, at zlib's level 1, which is fastest. Fails only without memory. */
enum status compress_pieces(enum coding coding, const struct bytes *pieces, size_t count, struct buf *out);

#endif
