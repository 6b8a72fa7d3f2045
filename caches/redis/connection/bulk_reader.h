/*
 * Large values on their way in: read from the socket straight into the blob that the cache gives out. libvalkey would
 * gather them in its buffer first, which has to grow and to be copied.
 *
 * It takes the place of the function with which libvalkey reads. Where its parser waits for the rest of a long bulk
 * string, what has come of it is moved into a blob, the rest is read to behind it, and the parser is then given an
 * empty string, for which create_string in reply.c puts the blob.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_BULK_READER_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_BULK_READER_H

#include "base/blob.h"

#include <valkey/valkey.h>

struct redis_bulk_reader {
	valkeyContextFuncs funcs;
	const valkeyContextFuncs *below; /* what reads for us: plain or TLS; NULL: not begun */
	bool wanted;			 /* an answer is due, so that a string may come */
	bool more;			 /* the last read got all that it asked for */
	struct blob *blob;		 /* the string that is being read */
	size_t length;
	size_t got; /* of length + 2, the line's end included */
	bool whole;
	size_t spent; /* what the reply that is being read has taken so far, as reply.c bounds it */
};

/* From now on `context` reads this way. Zeroed before; it lasts until redis_bulk_reader_end, before the context is
 * freed. */
void redis_bulk_reader_begin(struct redis_bulk_reader *bulk_reader, valkeyContext *context);
void redis_bulk_reader_end(struct redis_bulk_reader *bulk_reader, valkeyContext *context);

/* The string that stands behind the parser's empty one, for the caller; NULL: the empty one is meant. */
struct blob *redis_bulk_reader_take(struct redis_bulk_reader *bulk_reader);

#endif
