/*
 * Replies as libvalkey's reader builds them for us. A bulk string is copied at most once: from libvalkey's buffer or,
 * if it is long, from the socket, into a counted blob, which is then the cache entry.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_REPLY_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_REPLY_H

#include "base/blob.h"

#include <valkey/valkey.h>

struct redis_reply {
	valkeyReply base;  /* first: libvalkey looks at type and str itself */
	struct blob *blob; /* of a string, status or error: its text */
};

/* Whether the reply is a text in any form: some servers, and proxies, send short strings as simple ones ("+text"). */
static inline bool
redis_reply_is_text(const valkeyReply *reply)
{
	return reply->type == VALKEY_REPLY_STRING || reply->type == VALKEY_REPLY_STATUS ||
	       reply->type == VALKEY_REPLY_VERB;
}

/* For valkeyContext.reader->fn; the reader's privdata is a struct redis_bulk_reader, or NULL. */
extern valkeyReplyObjectFunctions redis_reply_functions;

/* Returns the value of the line "name:value" in the answer to INFO, or "". */
struct bytes redis_info_value(struct bytes info, const char *name);

#endif
