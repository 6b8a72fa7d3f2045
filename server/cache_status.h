/*
 * The cache directives of a request, and the Cache-Status field of a reply. Room-private.
 */
#ifndef HIPPOCAMP_SERVER_CACHE_STATUS_H
#define HIPPOCAMP_SERVER_CACHE_STATUS_H

#include "base/buf.h"
#include "base/status.h"
#include "inference/fetch/request.h"

/*
 * Reads a request's directives from the Cache-Control field, or from the parameter `cache` (default, bypass, refresh,
 * only). Any value of the parameter but `default` overrides the field.
 */
enum status cache_directives_read(struct bytes cache_control, const struct parameter *parameters, size_t count,
				  struct cache_directives *directives, struct error *error);

/* Does the request ask for the parameter `cache_status` in the reply? */
bool cache_status_wanted(const struct parameter *parameters, size_t count);

/* Appends the value of the Cache-Status field (RFC 9211); `store` is the name of the cache's store. */
void cache_status_write(const struct cache_report *report, const char *store, struct buf *out);

#endif
