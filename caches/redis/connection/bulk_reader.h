/*
 * Reads large values from the socket straight into the blob that the cache returns. libvalkey would first collect them
 * in its buffer, which has to grow and to be copied.
 *
 * The reader replaces libvalkey's read function. When the parser waits for the rest of a long bulk string, the bytes
 * that have arrived are moved to a blob and the rest is read behind them. The parser is then given an empty string, for
 * which create_string in reply.c substitutes the blob.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_BULK_READER_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_BULK_READER_H

#include "base/blob.h"

#include <valkey/valkey.h>

struct redis_bulk_reader {
	valkeyContextFuncs funcs;
	const valkeyContextFuncs *below; /* the replaced functions: plain or TLS; NULL: not begun */
	bool wanted;			 /* an answer is due, so a string may come */
	bool more;			 /* the last read filled its buffer */
	struct blob *blob;		 /* the string that is being read */
	size_t length;
	size_t got; /* bytes, of length + 2 with the line's end */
	bool whole;
	size_t spent; /* cost of the reply being read, in bytes; bounded by reply.c */
};

/*
 * Makes `context` read this way. `bulk_reader` must be zeroed before and stay valid until redis_bulk_reader_end, which
 * must come before the context is freed.
 */
void redis_bulk_reader_begin(struct redis_bulk_reader *bulk_reader, valkeyContext *context);
void redis_bulk_reader_end(struct redis_bulk_reader *bulk_reader, valkeyContext *context);

/* Returns the string for which the parser's empty one stands, owned by the caller; NULL: it is really empty. */
struct blob *redis_bulk_reader_take(struct redis_bulk_reader *bulk_reader);

#endif
