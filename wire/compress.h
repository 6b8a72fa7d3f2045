/*
 * Compression and decompression, in one call each, of gzip (RFC 1952) and zlib (RFC 1950, HTTP's "deflate").
 */
#ifndef HIPPOCAMP_WIRE_COMPRESS_H
#define HIPPOCAMP_WIRE_COMPRESS_H

#include "base/buf.h"
#include "base/status.h"

enum coding { CODING_IDENTITY, CODING_GZIP, CODING_DEFLATE, CODING_UNKNOWN };

const char *coding_name(enum coding coding);

/* `name` is the value of a Content-Encoding field. Empty, as of an absent field, means identity. */
enum coding coding_from_name(struct bytes name);

/*
 * Returns the coding for the response: of identity, gzip and deflate the one with the highest q in an Accept-Encoding
 * field (RFC 9110 section 12.5.3), the first of several with the same q, or identity if none has a q above 0.
 */
enum coding coding_negotiate(struct bytes accept_encoding);

/*
 * Decompresses `input` into `out`. Fails if the output exceeds the maximum of `out`, or both 8 MiB and
 * COMPRESS_RATIO_MAX times its input: real masks and padding may compress that well, but are not that long. Trailing
 * bytes are an error.
 */
#define COMPRESS_RATIO_MAX 512
enum status decompress(enum coding coding, struct bytes input, struct buf *out, struct error *error);

/* Compresses the concatenated pieces at zlib's level 1, the fastest. Fails only if `out` is full or memory runs out. */
enum status compress_pieces(enum coding coding, const struct bytes *pieces, size_t count, struct buf *out);

#endif
