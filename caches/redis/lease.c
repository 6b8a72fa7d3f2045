/*
 * Leases: SET key token NX PX term. A lease is released by deleting its key. A server that knows DELIFEQ or DELEX
 * deletes it only if it still holds our token. On other servers a plain DEL could delete another server's lease once
 * ours has expired; callers therefore release only unexpired leases, and the worst outcome is a second run.
 * https://redis.io/docs/latest/develop/use/patterns/distributed-locks/
 */
#include "base/digest.h"
#include "caches/redis/lane.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct bytes
lease_key(struct redis_lane *lane, const struct cache_key *key, struct buf *text)
{
	char hex[2 * DIGEST_SIZE_MAX + 1];

	hex_text(bytes_make(key->digest.bytes, key->digest.length), hex);
	buf_init(text, 65536);
	buf_format(text, "%s:lease:%s", lane->cache->settings->key_prefix, hex);
	return buf_bytes(text);
}

/* All leases of a lane have the same token, since a lane holds at most one lease for each key. */
static void
write_token(struct redis_lane *lane, char *token)
{
	if (lane->lease_token == 0) {
		random_bytes(&lane->lease_token, sizeof(lane->lease_token));
		lane->lease_token |= 1;
	}
	hex_text(bytes_make(&lane->lease_token, sizeof(lane->lease_token)), token);
}

static void
on_leased(void *argument, const struct redis_reply *reply)
{
	struct cache_lease *lease = argument;

	lease->result = reply_is(reply, VALKEY_REPLY_STATUS) ? CACHE_LEASE_GRANTED
			: reply_is(reply, VALKEY_REPLY_NIL)  ? CACHE_LEASE_HELD
							     : CACHE_LEASE_UNKNOWN;
	lease->done(lease);
}

bool
redis_lease(struct cache_lane *base, struct cache_lease *lease)
{
	struct redis_lane *lane = redis_lane_of(base);
	struct buf key;
	char token[17];
	char term[24];
	bool sent;

	write_token(lane, token);
	(void)snprintf(term, sizeof(term), "%" PRIu64, lease->term_ms);
	lease->result = CACHE_LEASE_UNKNOWN;
	sent = route_words(&lane->topology, ROUTE_TOLD, 6,
			   (const struct bytes[]){bytes_text("SET"), lease_key(lane, lease->key, &key),
						  bytes_text(token), bytes_text("NX"), bytes_text("PX"),
						  bytes_text(term)},
			   on_leased, lease);
	buf_fini(&key);
	return !sent;
}

/* A release that deletes only our own lease. */
struct exact_release {
	struct redis_topology *topology;
	struct buf key;
};

static void
free_release(struct exact_release *release)
{
	buf_fini(&release->key);
	free(release);
}

/* Falls back to DEL if the conditional command was refused, for example because the user may not run it. */
static void
on_released(void *argument, const struct redis_reply *reply)
{
	struct exact_release *release = argument;

	if (reply_is(reply, VALKEY_REPLY_ERROR)) {
		(void)route_words(release->topology, ROUTE_TOLD, 2,
				  (const struct bytes[]){bytes_text("DEL"), buf_bytes(&release->key)}, NULL, NULL);
	}
	free_release(release);
}

static bool
release_exactly(struct redis_lane *lane, const struct redis_node *node, struct bytes key)
{
	struct exact_release *release = malloc(sizeof(*release));
	char token[17];
	bool sent;

	if (release == NULL) {
		return false;
	}
	release->topology = &lane->topology;
	buf_init(&release->key, 65536);
	buf_append(&release->key, key);
	write_token(lane, token);
	if (node->exact_removal == REDIS_DELIFEQ) {
		sent = route_words(&lane->topology, ROUTE_QUIET, 3,
				   (const struct bytes[]){bytes_text("DELIFEQ"), key, bytes_text(token)}, on_released,
				   release);
	} else {
		sent = route_words(
			&lane->topology, ROUTE_QUIET, 4,
			(const struct bytes[]){bytes_text("DELEX"), key, bytes_text("IFEQ"), bytes_text(token)},
			on_released, release);
	}
	if (!sent) {
		free_release(release);
	}
	return sent;
}

void
redis_release(struct cache_lane *base, const struct cache_key *key)
{
	struct redis_lane *lane = redis_lane_of(base);
	struct buf text;
	struct bytes name = lease_key(lane, key, &text);
	const struct redis_node *node = topology_node(&lane->topology, route_slot(&lane->topology, name), true);

	if (node == NULL || node->exact_removal == REDIS_DEL || !release_exactly(lane, node, name)) {
		(void)route_words(&lane->topology, ROUTE_TOLD, 2, (const struct bytes[]){bytes_text("DEL"), name}, NULL,
				  NULL);
	}
	buf_fini(&text);
}
