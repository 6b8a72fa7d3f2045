/*
 * What a client asks of the cache, and what it is told about it. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_CACHE_STATUS_H
#define HIPPOCAMP_SERVER_CACHE_STATUS_H

#include "base/buf.h"
#include "base/status.h"
#include "inference/fetch/request.h"

/*
 * The directives of a request: from the Cache-Control field, and from the parameters `cache` (default, bypass, refresh,
 * only), which goes before the field.
 */
enum status cache_directives_read(struct bytes cache_control, const struct parameter *parameters, size_t count,
				  struct cache_directives *directives, struct error *error);

/* Does the request ask for `cache_status` among the reply's parameters? */
bool cache_status_wanted(const struct parameter *parameters, size_t count);

/* The value of the Cache-Status field (RFC 9211); `store` is the cache's name. */
void cache_status_write(const struct cache_report *report, const char *store, struct buf *out);

#endif
