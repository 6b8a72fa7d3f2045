/*
 * Leases: SET key token NX PX term. One is let go by deleting the key, and only as long as it cannot have run out and
 * be another's by now; the worst that comes of that is a second run.
 * https://redis.io/docs/latest/develop/use/patterns/distributed-locks/
 */
#include "base/digest.h"
#include "caches/redis/lane.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct bytes
lease_key(struct cache_lane *lane, const struct cache_key *key, struct buf *text)
{
	char hex[2 * DIGEST_SIZE_MAX + 1];

	hex_text(bytes_make(key->digest.bytes, key->digest.length), hex);
	buf_init(text, 65536);
	buf_format(text, "%s:lease:%s", lane->cache->settings->key_prefix, hex);
	return buf_bytes(text);
}

static void
on_leased(struct cache_lane *lane, const struct redis_reply *reply, void *argument)
{
	struct cache_lease *lease = argument;

	(void)lane;
	lease->result = reply_is(reply, VALKEY_REPLY_STATUS) ? CACHE_LEASE_GRANTED
			: reply_is(reply, VALKEY_REPLY_NIL)  ? CACHE_LEASE_HELD
							     : CACHE_LEASE_UNKNOWN;
	lease->done(lease);
}

bool
redis_lease(struct cache_lane *lane, struct cache_lease *lease)
{
	struct buf key;
	char token[17];
	char term[24];
	uint8_t random[8];
	bool sent;

	random_bytes(random, sizeof(random));
	hex_text(bytes_make(random, sizeof(random)), token);
	(void)snprintf(term, sizeof(term), "%" PRIu64, lease->term_ms);
	lease->result = CACHE_LEASE_UNKNOWN;
	sent = route_words(lane, true, false, 6,
			   (const struct bytes[]){bytes_text("SET"), lease_key(lane, lease->key, &key),
						  bytes_text(token), bytes_text("NX"), bytes_text("PX"),
						  bytes_text(term)},
			   on_leased, lease);
	buf_fini(&key);
	return !sent;
}

void
redis_release(struct cache_lane *lane, const struct cache_key *key)
{
	struct buf text;

	(void)route_words(lane, true, false, 2, (const struct bytes[]){bytes_text("DEL"), lease_key(lane, key, &text)},
			  NULL, NULL);
	buf_fini(&text);
}
