/*
 * The names of entries in Redis: <prefix>:<model>:<version>:<fingerprint>:<digest>. The version is decimal; the
 * fingerprint and the digest are hexadecimal. In the model's name ":" is written as "%3A" and "%" as "%25". A name
 * under the prefix "app:staging" is therefore never read as one under "app", and neither are other programs' keys.
 * Private to caches/redis.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_ENTRY_KEY_H
#define HIPPOCAMP_CACHES_REDIS_ENTRY_KEY_H

#include "base/buf.h"
#include "base/digest.h"

/* Appends an entry's name to `out`. `scope` is that of a struct cache_key. */
void entry_key_write(struct buf *out, const char *prefix, struct bytes scope, const struct digest_value *digest);

/*
 * Splits a name. Returns false if it is not that of an entry under this prefix. `version` points into `key`; `model`
 * points into `key` or into `room`, which has key.length bytes.
 */
bool entry_key_read(struct bytes key, const char *prefix, uint8_t *room, struct bytes *model, struct bytes *version);

#endif
