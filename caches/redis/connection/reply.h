/*
 * Replies as libvalkey's reader builds them for us: a bulk string goes straight from the socket's buffer, or, where it
 * is long, from the socket, into a counted blob, which is then the cache entry. One copy at most, no second one.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_CONNECTION_REPLY_H
#define HIPPOCAMP_CACHES_REDIS_CONNECTION_REPLY_H

#include "base/blob.h"

#include <valkey/valkey.h>

struct redis_reply {
	valkeyReply base;  /* first: libvalkey looks at type and str itself */
	struct blob *blob; /* of a bulk string */
};

/* A text in whatever form: some servers, and proxies, send short strings as simple ones ("+text"). */
static inline bool
redis_reply_is_text(const valkeyReply *reply)
{
	return reply->type == VALKEY_REPLY_STRING || reply->type == VALKEY_REPLY_STATUS ||
	       reply->type == VALKEY_REPLY_VERB;
}

/* For valkeyContext.reader->fn; its privdata is a struct redis_bulk_reader, or NULL. */
extern valkeyReplyObjectFunctions redis_reply_functions;

/* The value of the line "name:value" of what INFO answers, or "". */
struct bytes redis_info_value(struct bytes info, const char *name);

#endif
