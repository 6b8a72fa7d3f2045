/*
 * The names of entries in Redis: <prefix>:<model>:<version>:<fingerprint>:<digest>. The version is a decimal number,
 * the last two are hexadecimal; a colon in the model's name is written as "%3A", and "%" as "%25", so that no name
 * under the prefix "app:staging" is one under "app", nor is what another program keeps there. Room-private.
 */
#ifndef HIPPOCAMP_CACHES_REDIS_ENTRY_KEY_H
#define HIPPOCAMP_CACHES_REDIS_ENTRY_KEY_H

#include "base/buf.h"
#include "base/digest.h"

/* `scope` is a cache_key's, with a colon between its parts. */
void entry_key_write(struct buf *out, const char *prefix, struct bytes scope, const struct digest_value *digest);

/*
 * Takes a name apart. False: it is no entry's under this prefix. `model` is a view into `key` or into `room` (room for
 * key.length bytes).
 */
bool entry_key_read(struct bytes key, const char *prefix, uint8_t *room, struct bytes *model, struct bytes *version);

#endif
