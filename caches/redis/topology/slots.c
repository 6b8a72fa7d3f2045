#include "caches/redis/topology/slots.h"

#include "caches/redis/connection/reply.h"

#include <stdlib.h>

/*
 * CRC16/XMODEM: polynomial 0x1021, initial value 0, highest bit first. A CRC is linear, so the entry of a byte is the
 * exclusive or of the entries of its bits.
 */
#define BIT(byte, bit, entry) (((byte) & (bit)) != 0 ? (entry) : 0)
#define ENTRY(byte)                                                                                                    \
	(BIT(byte, 0x01, 0x1021) ^ BIT(byte, 0x02, 0x2042) ^ BIT(byte, 0x04, 0x4084) ^ BIT(byte, 0x08, 0x8108) ^       \
	 BIT(byte, 0x10, 0x1231) ^ BIT(byte, 0x20, 0x2462) ^ BIT(byte, 0x40, 0x48c4) ^ BIT(byte, 0x80, 0x9188))
#define ENTRIES_4(byte) ENTRY(byte), ENTRY((byte) + 1), ENTRY((byte) + 2), ENTRY((byte) + 3)
#define ENTRIES_16(byte) ENTRIES_4(byte), ENTRIES_4((byte) + 4), ENTRIES_4((byte) + 8), ENTRIES_4((byte) + 12)
#define ENTRIES_64(byte) ENTRIES_16(byte), ENTRIES_16((byte) + 16), ENTRIES_16((byte) + 32), ENTRIES_16((byte) + 48)

static const uint16_t crc_table[256] = {ENTRIES_64(0), ENTRIES_64(64), ENTRIES_64(128), ENTRIES_64(192)};

static uint16_t
crc16(struct bytes text)
{
	uint16_t crc = 0;

	for (size_t i = 0; i < text.length; i++) {
		crc = (uint16_t)((crc << 8) ^ crc_table[(crc >> 8) ^ text.at[i]]);
	}
	return crc;
}

static struct bytes
hashed_part(struct bytes key)
{
	size_t open = 0;
	size_t close;

	while (open < key.length && key.at[open] != '{') {
		open++;
	}
	close = open + 1;
	while (close < key.length && key.at[close] != '}') {
		close++;
	}
	return close < key.length && close > open + 1 ? bytes_make(key.at + open + 1, close - open - 1) : key;
}

uint16_t
redis_slot(struct bytes key)
{
	return crc16(hashed_part(key)) & (REDIS_SLOT_COUNT - 1);
}

static bool
has_type(const valkeyReply *reply, int type)
{
	return reply != NULL && reply->type == type;
}

static struct bytes
text_of(const valkeyReply *reply)
{
	return reply != NULL && redis_reply_is_text(reply) ? bytes_make(reply->str, reply->len) : bytes_make(NULL, 0);
}

/*
 * Returns a value from the fourth element of a node: a map, or in RESP2 an array of alternating names and values. Empty
 * if it is missing.
 */
static struct bytes
metadata(const valkeyReply *node, const char *name)
{
	const valkeyReply *map = node->elements > 3 ? node->element[3] : NULL;

	if (has_type(map, VALKEY_REPLY_MAP) || has_type(map, VALKEY_REPLY_ARRAY)) {
		for (size_t i = 0; i + 1 < map->elements; i += 2) {
			if (bytes_equal_text(text_of(map->element[i]), name)) {
				return text_of(map->element[i + 1]);
			}
		}
	}
	return bytes_make(NULL, 0);
}

/*
 * A node that does not know its host is at the one that we asked. If it has no name ("?"), or we asked over a Unix
 * socket, its metadata may hold an IP.
 */
static struct bytes
host_of(const valkeyReply *node, const struct redis_address *asked)
{
	const valkeyReply *endpoint = node->element[0];
	struct bytes host = text_of(endpoint);
	bool unknown = has_type(endpoint, VALKEY_REPLY_NIL) ||
		       (endpoint != NULL && redis_reply_is_text(endpoint) && host.length == 0);

	if (unknown && !redis_address_is_path(asked)) {
		return bytes_text(asked->host);
	}
	return unknown || bytes_equal_text(host, "?") ? metadata(node, "ip") : host;
}

/* Returns false if the node must be left out. */
static bool
read_node(const valkeyReply *reply, const struct redis_address *asked, struct redis_slots_node *node)
{
	struct bytes zone;

	memset(node, 0, sizeof(*node));
	if (!has_type(reply, VALKEY_REPLY_ARRAY) || reply->elements < 2 ||
	    !has_type(reply->element[1], VALKEY_REPLY_INTEGER) ||
	    !redis_address_make(host_of(reply, asked), reply->element[1]->integer, &node->address)) {
		return false;
	}
	zone = metadata(reply, "availability-zone");
	if (zone.length > 0 && zone.length < sizeof(node->zone)) {
		memcpy(node->zone, zone.at, zone.length);
	}
	return true;
}

/* Returns the shard with this primary, which is created if needed. NULL if there are too many or memory runs out. */
static struct redis_slots_shard *
shard_with(struct redis_slots *slots, const struct redis_slots_node *primary)
{
	size_t count = slots->shard_count;

	for (size_t i = 0; i < count; i++) {
		if (redis_address_equal(&slots->shards[i].primary.address, &primary->address)) {
			return &slots->shards[i];
		}
	}
	if (count == REDIS_SHARD_MAX) {
		return NULL;
	}
	if ((count & (count - 1)) == 0) { /* full: the room is a power of two */
		size_t room = count == 0 ? 1 : 2 * count;
		struct redis_slots_shard *shards = realloc(slots->shards, room * sizeof(*shards));

		if (shards == NULL) {
			return NULL;
		}
		slots->shards = shards;
	}
	memset(&slots->shards[count], 0, sizeof(slots->shards[count]));
	slots->shards[count].primary = *primary;
	slots->shard_count++;
	return &slots->shards[count];
}

static void
add_replica(struct redis_slots_shard *shard, const struct redis_slots_node *replica)
{
	if (shard->replica_count == REDIS_REPLICA_MAX ||
	    redis_address_equal(&shard->primary.address, &replica->address)) {
		return;
	}
	for (size_t i = 0; i < shard->replica_count; i++) {
		if (redis_address_equal(&shard->replicas[i].address, &replica->address)) {
			return;
		}
	}
	shard->replicas[shard->replica_count++] = *replica;
}

static bool
is_range(const valkeyReply *reply)
{
	return has_type(reply, VALKEY_REPLY_ARRAY) && reply->elements >= 3 &&
	       has_type(reply->element[0], VALKEY_REPLY_INTEGER) && has_type(reply->element[1], VALKEY_REPLY_INTEGER) &&
	       reply->element[0]->integer >= 0 && reply->element[0]->integer <= reply->element[1]->integer &&
	       reply->element[1]->integer < REDIS_SLOT_COUNT;
}

static bool
read_range(const valkeyReply *reply, const struct redis_address *asked, struct redis_slots *slots)
{
	struct redis_slots_shard *shard;
	struct redis_slots_node node;

	if (!is_range(reply)) {
		return false;
	}
	if (!read_node(reply->element[2], asked, &node)) {
		return true;
	}
	shard = shard_with(slots, &node);
	if (shard == NULL) {
		return false;
	}
	for (long long slot = reply->element[0]->integer; slot <= reply->element[1]->integer; slot++) {
		if (slots->shard_of[slot] != REDIS_NO_SHARD) {
			return false;
		}
		slots->shard_of[slot] = (uint16_t)(shard - slots->shards);
	}
	for (size_t i = 3; i < reply->elements; i++) {
		if (read_node(reply->element[i], asked, &node)) {
			add_replica(shard, &node);
		}
	}
	return true;
}

bool
redis_slots_read(const valkeyReply *reply, const struct redis_address *asked, struct redis_slots *slots)
{
	bool good = has_type(reply, VALKEY_REPLY_ARRAY);

	slots->shards = NULL;
	slots->shard_count = 0;
	for (size_t i = 0; i < REDIS_SLOT_COUNT; i++) {
		slots->shard_of[i] = REDIS_NO_SHARD;
	}
	for (size_t i = 0; good && i < reply->elements; i++) {
		good = read_range(reply->element[i], asked, slots);
	}
	if (!good || slots->shard_count == 0) {
		redis_slots_fini(slots);
		return false;
	}
	return true;
}

void
redis_slots_fini(struct redis_slots *slots)
{
	free(slots->shards);
	slots->shards = NULL;
	slots->shard_count = 0;
}
