/* Storing values, after the answer has gone to the client. Bytes in flight are limited to write_behind_size. */
#include "caches/redis/connection/command.h"
#include "caches/redis/lane.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct storing {
	struct redis_command command; /* first */
	struct cache_insert *insert;
	struct blob *value; /* as it is stored */
	struct cache_work work;
};

static void
free_storing(struct storing *storing)
{
	blob_unref(storing->value);
	free(storing);
}

static void
on_stored(struct redis_command *command, const struct redis_reply *reply)
{
	struct storing *storing = (struct storing *)command;
	struct cache_insert *insert = storing->insert;
	struct redis_lane *lane = command_lane(command);

	lane->insert_bytes -= storing->value->length;
	lane->refused = reply == NULL || reply_is(reply, VALKEY_REPLY_ERROR);
	if (!reply_is(reply, VALKEY_REPLY_NIL)) { /* nil: an entry exists, and stays */
		counter_add(reply_is(reply, VALKEY_REPLY_STATUS) ? &lane->cache->inserts : &lane->cache->dropped, 1);
	}
	free_storing(storing);
	insert->done(insert);
}

static void
write_set(struct redis_command *command, struct buf *text)
{
	const struct storing *storing = (const struct storing *)command;
	const struct cache_insert *insert = storing->insert;
	char ttl[24];

	buf_byte(text, '*');
	buf_unsigned(text, 3U + (insert->mode == CACHE_KEEP) + (insert->ttl_ms == 0 ? 0 : 2));
	buf_text(text, "\r\n$3\r\nSET\r\n");
	command_append(text, lane_key(command_lane(command), insert->key));
	command_append(text, blob_bytes(storing->value));
	if (insert->mode == CACHE_KEEP) {
		command_append(text, bytes_text("NX"));
	}
	if (insert->ttl_ms != 0) {
		(void)snprintf(ttl, sizeof(ttl), "%" PRIu64, insert->ttl_ms);
		command_append(text, bytes_text("PX"));
		command_append(text, bytes_text(ttl));
	}
}

static bool
send_packed(struct storing *storing)
{
	struct redis_lane *lane = command_lane(&storing->command);
	const struct cache_key *key = storing->insert->key;

	if (lane->insert_bytes + storing->value->length > (uint64_t)lane->cache->settings->write_behind_bytes) {
		return false;
	}
	storing->command.large = lane_is_large(storing->value->length);
	if (!route_send(&storing->command)) {
		return false;
	}
	lane->insert_bytes += storing->value->length;
	size_hints_note(&lane->hints, key->scope, storing->value->length);
	return true;
}

/* --- Packing; long values are packed on another thread --- */

static void
drop(struct storing *storing)
{
	counter_add(&command_lane(&storing->command)->cache->dropped, 1);
	free_storing(storing);
}

static struct storing *
storing_of(struct cache_work *work)
{
	return container_of(work, struct storing, work);
}

static void
pack_apart(struct cache_work *work)
{
	struct storing *storing = storing_of(work);
	struct blob *value = storing->insert->value;
	struct packing_lane *lane = packing_lane_new(command_lane(&storing->command)->cache->packing);

	storing->value = lane == NULL ? blob_ref(value) : packing_pack(lane, storing->insert->key->scope, value);
	packing_lane_free(lane);
}

static void
on_packed(struct cache_work *work)
{
	struct storing *storing = storing_of(work);
	struct cache_insert *insert = storing->insert;

	command_lane(&storing->command)->insert_bytes -= insert->value->length;
	if (!send_packed(storing)) {
		drop(storing);
		insert->done(insert);
	}
}

/*
 * A value being packed counts as in flight. If nothing else is, it is packed whatever its length, as packing may make
 * it short.
 */
static bool
pack_elsewhere(struct storing *storing)
{
	struct redis_lane *lane = command_lane(&storing->command);
	size_t length = storing->insert->value->length;

	if (lane->insert_bytes > 0 &&
	    lane->insert_bytes + length > (uint64_t)lane->cache->settings->write_behind_bytes) {
		return false;
	}
	lane->insert_bytes += length;
	storing->work = (struct cache_work){.run = pack_apart, .done = on_packed};
	lane->host->offload(lane->host->offload_context, &storing->work, length);
	return true;
}

static bool
send_value(struct storing *storing)
{
	struct redis_lane *lane = command_lane(&storing->command);
	struct blob *value = storing->insert->value;

	storing->command.slot = lane_slot(lane, storing->insert->key);
	if (topology_node(&lane->topology, storing->command.slot, true) == NULL) {
		return false; /* checked before packing, which is expensive */
	}
	if (lane->host->offload != NULL && packing_packs_long(lane->cache->packing, value->length)) {
		return pack_elsewhere(storing);
	}
	storing->value = packing_pack(lane->packing, storing->insert->key->scope, value);
	return send_packed(storing);
}

/* --- Whether Redis accepts values --- */

static void
on_tried(void *argument, const struct redis_reply *reply)
{
	struct redis_lane *lane = argument;

	lane->trying = false;
	if (reply_is(reply, VALKEY_REPLY_STATUS)) {
		lane->refused = false;
	}
}

void
lane_try_again(struct redis_lane *lane)
{
	char room[REDIS_KEY_ROOM];

	if (lane->refused && !lane->trying) {
		lane->trying =
			route_words(&lane->topology, ROUTE_QUIET, 5,
				    (const struct bytes[]){bytes_text("SET"),
							   redis_settings_key(lane->cache->settings, "probe", room),
							   bytes_text("1"), bytes_text("PX"), bytes_text("1000")},
				    on_tried, lane);
	}
}

const char *
redis_trouble(struct cache_lane *base)
{
	struct redis_lane *lane = redis_lane_of(base);

	/* In a cluster any node, as the key in question is not known. */
	struct redis_node *node =
		lane->topology.cluster ? topology_some_node(&lane->topology) : topology_node(&lane->topology, 0, true);

	if (node == NULL || (lane->secret.wanted && !lane->secret.known)) {
		return "redis-unavailable";
	}
	if (lane->insert_bytes >= (uint64_t)lane->cache->settings->write_behind_bytes || lane->refused ||
	    (!lane->topology.cluster && !redis_node_takes_writes(node))) {
		return "dropped";
	}
	return NULL;
}

void
redis_remove(struct cache_lane *base, const struct cache_key *key)
{
	struct redis_lane *lane = redis_lane_of(base);

	(void)route_words(&lane->topology, ROUTE_QUIET, 2,
			  (const struct bytes[]){bytes_text("DEL"), lane_key(lane, key)}, NULL, NULL);
}

bool
redis_insert(struct cache_lane *base, struct cache_insert *insert)
{
	struct redis_lane *lane = redis_lane_of(base);
	struct storing *storing = calloc(1, sizeof(*storing));

	if (storing != NULL) {
		storing->insert = insert;
		storing->command = (struct redis_command){.topology = &lane->topology,
							  .to_primary = true,
							  .on_write_link = true,
							  .write = write_set,
							  .done = on_stored};
		if (send_value(storing)) {
			return false;
		}
		drop(storing);
	} else {
		counter_add(&lane->cache->dropped, 1);
	}
	return true;
}
