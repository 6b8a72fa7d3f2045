#include "caches/redis/secret.h"

#include "base/clock.h"
#include "base/digest.h"

#include <stdio.h>

#define HEX_LENGTH 64
#define CHECK_NS UINT64_C(5000000000)

static struct bytes
key_of(const struct redis_secret *secret, char *room)
{
	return redis_settings_key(secret->topology->shared.settings, "key_secret", room);
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
take(struct redis_secret *secret, const uint8_t *bytes)
{
	bool changes = secret->known && memcmp(secret->value.bytes, bytes, sizeof(secret->value.bytes)) != 0;

	if (changes && secret->topology->shared.announces) {
		topology_log(
			secret->topology, LOG_WARNING,
			"cache 'redis': the key secret in Redis has changed; entries made under the old one are not "
			"found any more");
	}
	if (changes || !secret->known) {
		memcpy(secret->value.bytes, bytes, sizeof(secret->value.bytes));
		secret->value.generation++;
		secret->known = true;
		secret->learnt(secret);
	}
}

static void
complain_refused(struct redis_secret *secret, const struct redis_reply *reply)
{
	enum redis_refusal refusal = redis_refusal_of(reply_text(&reply->base));
	const char *remedy = redis_refusal_remedy(refusal);

	if (refusal == REDIS_REFUSAL_NOPERM || remedy == NULL) {
		remedy = "the user needs GET and SET on keys that begin with 'key_prefix'";
	}
	topology_complain(secret->topology,
			  "the key secret cannot be kept, and without it there are no keys (%.200s): %s, or give "
			  "'key_secret'",
			  reply->base.str, remedy);
}

static void ask(struct redis_secret *secret, route_words_fn done);

static void
on_asked_again(void *argument, const struct redis_reply *reply)
{
	struct redis_secret *secret = argument;
	uint8_t bytes[HEX_LENGTH / 2];

	secret->asked = false;
	if (reply != NULL && read_secret(reply, bytes)) {
		take(secret, bytes);
	} else if ((reply != NULL && redis_reply_is_text(&reply->base)) ||
		   (reply_is(reply, VALKEY_REPLY_ERROR) && redis_refusal_is_of_key(reply_text(&reply->base)))) {
		topology_complain(secret->topology,
				  "'%s:key_secret' holds no secret of ours: delete that key, or give another "
				  "'key_prefix'",
				  secret->topology->shared.settings->key_prefix);
	} else if (reply_is(reply, VALKEY_REPLY_ERROR) && !secret->known) {
		complain_refused(secret, reply);
	}
}

/*
 * SET may be refused by a Redis that is full or read-only, or find another secret there. Reads what is stored now,
 * unless SET was refused while we have no secret.
 */
static void
on_offered(void *argument, const struct redis_reply *reply)
{
	struct redis_secret *secret = argument;

	if (reply_is(reply, VALKEY_REPLY_ERROR) && !secret->known) {
		on_asked_again(secret, reply);
	} else {
		ask(secret, on_asked_again);
	}
}

/* Stores the known secret if it is gone from Redis, or else a new random one. */
static void
offer(struct redis_secret *secret)
{
	char hex[HEX_LENGTH + 1];
	char room[REDIS_KEY_ROOM];
	uint8_t fresh[HEX_LENGTH / 2];

	random_bytes(fresh, sizeof(fresh));
	hex_text(bytes_make(secret->known ? secret->value.bytes : fresh, sizeof(fresh)), hex);
	if (!route_words(
		    secret->topology, ROUTE_QUIET, 4,
		    (const struct bytes[]){bytes_text("SET"), key_of(secret, room), bytes_text(hex), bytes_text("NX")},
		    on_offered, secret)) {
		secret->asked = false;
	}
}

static void
on_asked(void *argument, const struct redis_reply *reply)
{
	struct redis_secret *secret = argument;

	if (reply_is(reply, VALKEY_REPLY_NIL)) {
		offer(secret);
	} else {
		on_asked_again(secret, reply);
	}
}

/* Asks the primary, since a replica may not have the secret yet. */
static void
ask(struct redis_secret *secret, route_words_fn done)
{
	char room[REDIS_KEY_ROOM];

	secret->asked = route_words(secret->topology, ROUTE_QUIET, 2,
				    (const struct bytes[]){bytes_text("GET"), key_of(secret, room)}, done, secret);
}

void
redis_secret_check(struct redis_secret *secret)
{
	uint64_t now = clock_now_ns();

	if (secret->wanted && !secret->asked && (!secret->known || now - secret->checked_ns > CHECK_NS)) {
		secret->checked_ns = now;
		ask(secret, on_asked);
	}
}
