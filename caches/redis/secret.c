/*
 * The secret from which cache keys are made. All servers that share a Redis share it: the first server stores a random
 * one, and all check every 5 s whether it is still the same, since it may be flushed or evicted.
 */
#include "base/clock.h"
#include "base/digest.h"
#include "caches/redis/store.h"

#include <stdio.h>

#define HEX_LENGTH 64
#define CHECK_NS UINT64_C(5000000000)

static struct bytes
key_of(const struct cache_lane *lane, char *room)
{
	return redis_settings_key(lane->cache->settings, "key_secret", room);
}

static int
hex_value(char digit)
{
	return digit >= '0' && digit <= '9' ? digit - '0' : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool
read_secret(const struct redis_reply *reply, uint8_t *secret)
{
	if (!redis_reply_is_text(&reply->base) || reply->base.len != HEX_LENGTH) {
		return false;
	}
	for (size_t i = 0; i < HEX_LENGTH / 2; i++) {
		int high = hex_value(reply->base.str[2 * i]);
		int low = hex_value(reply->base.str[2 * i + 1]);

		if (high < 0 || low < 0) {
			return false;
		}
		secret[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* Adopts the secret in Redis. If it replaces ours, keys are made with it from now on, as on all other servers. */
static void
take(struct cache_lane *lane, const uint8_t *secret)
{
	bool changes = lane->secret_known && memcmp(lane->secret.bytes, secret, sizeof(lane->secret.bytes)) != 0;

	if (changes && lane->announces) {
		lane_log(lane, LOG_WARNING,
			 "cache 'redis': the key secret in Redis has changed; entries made under the old one are not "
			 "found any more");
	}
	if (changes || !lane->secret_known) {
		memcpy(lane->secret.bytes, secret, sizeof(lane->secret.bytes));
		lane->secret.generation++;
		lane->secret_known = true;
		lane_show_connections(lane);
	}
}

static void
complain_refused(struct cache_lane *lane, const struct redis_reply *reply)
{
	enum redis_refusal refusal = redis_refusal_of(reply_text(&reply->base));
	const char *remedy = redis_refusal_remedy(refusal);

	if (refusal == REDIS_REFUSAL_NOPERM || remedy == NULL) {
		remedy = "the user needs GET and SET on keys that begin with 'key_prefix'";
	}
	topology_complain(lane,
			  "the key secret cannot be kept, and without it there are no keys (%.200s): %s, or give "
			  "'key_secret'",
			  reply->base.str, remedy);
}

static void ask(struct cache_lane *lane, route_words_fn done);

static void
on_asked_again(struct cache_lane *lane, const struct redis_reply *reply, void *argument)
{
	uint8_t secret[HEX_LENGTH / 2];

	(void)argument;
	lane->secret_asked = false;
	if (reply != NULL && read_secret(reply, secret)) {
		take(lane, secret);
	} else if ((reply != NULL && redis_reply_is_text(&reply->base)) ||
		   (reply_is(reply, VALKEY_REPLY_ERROR) && bytes_starts_with(reply_text(&reply->base), "WRONGTYPE"))) {
		topology_complain(lane,
				  "'%s:key_secret' holds no secret of ours: delete that key, or give another "
				  "'key_prefix'",
				  lane->cache->settings->key_prefix);
	} else if (reply_is(reply, VALKEY_REPLY_ERROR) && !lane->secret_known) {
		complain_refused(lane, reply);
	}
}

/*
 * SET may be refused by a Redis that is full or read-only, or find another secret there. Reads what is stored now,
 * unless SET was refused while we have no secret.
 */
static void
on_offered(struct cache_lane *lane, const struct redis_reply *reply, void *argument)
{
	(void)argument;
	if (reply_is(reply, VALKEY_REPLY_ERROR) && !lane->secret_known) {
		on_asked_again(lane, reply, argument);
	} else {
		ask(lane, on_asked_again);
	}
}

/* Stores the known secret if it is gone from Redis, or else a new random one. */
static void
offer(struct cache_lane *lane)
{
	char hex[HEX_LENGTH + 1];
	char room[REDIS_KEY_ROOM];
	uint8_t fresh[HEX_LENGTH / 2];

	random_bytes(fresh, sizeof(fresh));
	hex_text(bytes_make(lane->secret_known ? lane->secret.bytes : fresh, sizeof(fresh)), hex);
	if (!route_words(
		    lane, ROUTE_QUIET, 4,
		    (const struct bytes[]){bytes_text("SET"), key_of(lane, room), bytes_text(hex), bytes_text("NX")},
		    on_offered, NULL)) {
		lane->secret_asked = false;
	}
}

static void
on_asked(struct cache_lane *lane, const struct redis_reply *reply, void *argument)
{
	if (reply_is(reply, VALKEY_REPLY_NIL)) {
		offer(lane);
	} else {
		on_asked_again(lane, reply, argument);
	}
}

/* Asks the primary, since a replica may not have the secret yet. */
static void
ask(struct cache_lane *lane, route_words_fn done)
{
	char room[REDIS_KEY_ROOM];

	lane->secret_asked = route_words(lane, ROUTE_QUIET, 2,
					 (const struct bytes[]){bytes_text("GET"), key_of(lane, room)}, done, NULL);
}

void
secret_check(struct cache_lane *lane)
{
	uint64_t now = clock_now_ns();

	if (lane->cache->secret_wanted && !lane->secret_asked &&
	    (!lane->secret_known || now - lane->secret_checked_ns > CHECK_NS)) {
		lane->secret_checked_ns = now;
		ask(lane, on_asked);
	}
}
