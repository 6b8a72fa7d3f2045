/* Looking up: one command for each key, or one MGET for several keys where all are on one server. */
#include "base/metric.h"
#include "caches/redis/connection/command.h"
#include "caches/redis/entry_key.h"
#include "caches/redis/lane.h"

#include <stdlib.h>

#define KEYS_MAX 64		     /* in one MGET */
#define VALUES_MAX ((size_t)1 << 20) /* bytes, expected in the reply to one MGET */

/* --- Keys --- */

struct bytes
lane_key(struct redis_lane *lane, const struct cache_key *key)
{
	buf_clear(&lane->key);
	entry_key_write(&lane->key, lane->cache->settings->key_prefix, key->scope, &key->digest);
	return buf_bytes(&lane->key);
}

uint16_t
lane_slot(struct redis_lane *lane, const struct cache_key *key)
{
	return lane->topology.cluster ? route_slot(&lane->topology, lane_key(lane, key)) : 0;
}

/* --- Look-ups --- */

/* One command, for the keys first … first + count - 1 of a look-up. */
struct question {
	struct redis_command command; /* first */
	struct cache_lookup *lookup;
	size_t first;
	size_t count;
	size_t expected; /* bytes */
};

static void
fail(struct redis_lane *lane, struct cache_lookup *lookup, size_t count)
{
	lookup->failed = true;
	counter_add(&lane->cache->failures, count);
}

/* A value that is unpacked on another thread; its look-up is answered after that. */
struct unpacking {
	struct cache_work work; /* first */
	struct redis_lane *lane;
	struct cache_lookup *lookup;
	size_t index;
	struct blob *packed;
	size_t length;	    /* plain, as the header states; counted in asked_bytes */
	struct blob *plain; /* NULL: it failed */
};

static void
note_value(struct cache_lookup *lookup, size_t index, const struct blob *packed, struct blob *plain)
{
	lookup->values[index] = plain;
	if (plain == NULL) {
		lookup->corrupt = lookup->corrupt || packing_is_damaged(blob_bytes(packed));
	}
}

static void
unpack_apart(struct cache_work *work)
{
	struct unpacking *unpacking = (struct unpacking *)work;
	struct packing_lane *lane = packing_lane_new(unpacking->lane->cache->packing);

	unpacking->plain = lane == NULL ? NULL : packing_unpack(lane, blob_ref(unpacking->packed));
	packing_lane_free(lane);
}

static void
on_unpacked(struct cache_work *work)
{
	struct unpacking *unpacking = (struct unpacking *)work;
	struct cache_lookup *lookup = unpacking->lookup;

	unpacking->lane->asked_bytes -= unpacking->length;
	note_value(lookup, unpacking->index, unpacking->packed, unpacking->plain);
	counter_add(&unpacking->lane->cache->hits, unpacking->plain != NULL && lookup->counted != CACHE_COUNT_NOTHING);
	blob_unref(unpacking->packed);
	free(unpacking);
	if (--lookup->unanswered == 0) {
		lookup->done(lookup);
	}
}

/* Returns false if memory runs out. */
static bool
unpack_elsewhere(struct redis_lane *lane, struct cache_lookup *lookup, size_t index, struct blob *packed)
{
	struct unpacking *unpacking = malloc(sizeof(*unpacking));

	if (unpacking == NULL) {
		return false;
	}
	*unpacking = (struct unpacking){.work = {.run = unpack_apart, .done = on_unpacked},
					.lane = lane,
					.lookup = lookup,
					.index = index,
					.packed = blob_ref(packed),
					.length = packing_plain_length(lane->cache->packing, blob_bytes(packed))};
	lookup->unanswered++;
	lane->asked_bytes += unpacking->length;
	lane->host->offload(lane->host->offload_context, &unpacking->work, unpacking->length);
	return true;
}

static void
take_value(struct redis_lane *lane, struct cache_lookup *lookup, size_t index, const struct redis_reply *reply)
{
	size_hints_note(&lane->hints, lookup->keys[index].scope, reply->base.len);
	if (lane->host->offload == NULL || !packing_unpacks_long(blob_bytes(reply->blob)) ||
	    !unpack_elsewhere(lane, lookup, index, reply->blob)) {
		note_value(lookup, index, reply->blob, packing_unpack(lane->packing, blob_ref(reply->blob)));
	}
}

/*
 * A valid answer for a key is a string, which some servers send as a simple one if it is short, or nil. A proxy returns
 * an error for a key whose server is unreachable; that fails only that key.
 */
static bool
is_answer(const valkeyReply *reply)
{
	return redis_reply_is_text(reply) || reply->type == VALKEY_REPLY_ERROR || reply->type == VALKEY_REPLY_NIL;
}

static void
take_one(struct redis_lane *lane, struct cache_lookup *lookup, size_t index, const valkeyReply *reply)
{
	if (redis_reply_is_text(reply)) {
		take_value(lane, lookup, index, (const struct redis_reply *)reply);
	} else if (reply->type == VALKEY_REPLY_ERROR) {
		fail(lane, lookup, 1);
	}
}

/* Takes all values or none: one invalid part makes the others doubtful. */
static bool
take_all(struct redis_lane *lane, const struct question *question, const struct redis_reply *reply)
{
	valkeyReply *const *parts = reply->base.element;
	bool good = reply->base.type == VALKEY_REPLY_ARRAY && reply->base.elements == question->count;

	for (size_t i = 0; i < question->count && good; i++) {
		good = is_answer(parts[i]);
	}
	for (size_t i = 0; i < question->count && good; i++) {
		take_one(lane, question->lookup, question->first + i, parts[i]);
	}
	return good;
}

static bool
take_reply(struct redis_lane *lane, const struct question *question, const struct redis_reply *reply)
{
	if (question->count > 1) {
		return take_all(lane, question, reply);
	}
	if (!is_answer(&reply->base)) {
		return false;
	}
	take_one(lane, question->lookup, question->first, &reply->base);
	return true;
}

static void
count_hits(const struct question *question)
{
	const struct cache_lookup *lookup = question->lookup;
	size_t hits = 0;

	for (size_t i = question->first; i < question->first + question->count; i++) {
		hits += lookup->values[i] != NULL;
	}
	if (lookup->counted != CACHE_COUNT_NOTHING) {
		counter_add(&command_lane(&question->command)->cache->hits, hits);
	}
}

static bool
is_of_another_type(const struct redis_reply *reply)
{
	return reply != NULL && redis_refusal_is_of_key(reply_text(&reply->base));
}

static void
on_values(struct redis_command *command, const struct redis_reply *reply)
{
	struct question *question = (struct question *)command;
	struct cache_lookup *lookup = question->lookup;
	struct redis_lane *lane = command_lane(command);

	lane->asked_bytes -= question->expected;
	if (reply == NULL || reply->base.type == VALKEY_REPLY_ERROR) {
		fail(lane, lookup, question->count);
		lookup->corrupt = lookup->corrupt || is_of_another_type(reply);
		if (reply == NULL && question->count > 1) {
			/* The reply may have exceeded the limit for one: ask for single keys from now on. */
			size_hints_note(&lane->hints, lookup->keys[question->first].scope, VALUES_MAX + 1);
		}
	} else if (!take_reply(lane, question, reply)) {
		fail(lane, lookup, question->count);
		lane_reset_connections(lane);
	}
	count_hits(question);
	free(question);
	if (--lookup->unanswered == 0) {
		lookup->done(lookup);
	}
}

static void
write_question(struct redis_command *command, struct buf *text)
{
	const struct question *question = (const struct question *)command;

	if (question->count == 1) {
		buf_text(text, "*2\r\n$3\r\nGET\r\n");
	} else {
		buf_byte(text, '*');
		buf_unsigned(text, question->count + 1);
		buf_text(text, "\r\n$4\r\nMGET\r\n");
	}
	for (size_t i = 0; i < question->count; i++) {
		command_append(text, lane_key(command_lane(command), &question->lookup->keys[question->first + i]));
	}
}

static bool
ask(struct redis_lane *lane, struct cache_lookup *lookup, size_t first, size_t count)
{
	size_t expected = count * (lookup->expected > 0 ? lookup->expected
							: size_hints_expect(&lane->hints, lookup->keys[first].scope));
	struct question *question = malloc(sizeof(*question));

	if (question == NULL || (lane->asked_bytes > 0 &&
				 lane->asked_bytes + expected > (uint64_t)lane->cache->settings->in_flight_bytes)) {
		free(question);
		return false;
	}
	*question = (struct question){
		.command = {.topology = &lane->topology,
			    .slot = lane_slot(lane, &lookup->keys[first]),
			    .large = lane_is_large(expected),
			    .write = write_question,
			    .done = on_values},
		.lookup = lookup,
		.first = first,
		.count = count,
		.expected = expected,
	};
	if (!route_send(&question->command)) {
		free(question);
		return false;
	}
	lane->asked_bytes += expected;
	return true;
}

/*
 * How many keys one command asks for: one in a cluster, as each key has its own slot and MGET must not span slots; few
 * if values are large, as MGET returns them all at once.
 */
static size_t
keys_each(const struct redis_lane *lane, const struct cache_lookup *lookup)
{
	size_t expected = lookup->count < 2 ? 0 : size_hints_expect(&lane->hints, lookup->keys[0].scope);
	size_t most = KEYS_MAX;

	if (expected > VALUES_MAX / KEYS_MAX) {
		most = expected > VALUES_MAX ? 1 : VALUES_MAX / expected;
	}
	return lane->topology.cluster ? 1 : most;
}

bool
redis_lookup(struct cache_lane *base, struct cache_lookup *lookup)
{
	struct redis_lane *lane = redis_lane_of(base);
	size_t most = keys_each(lane, lookup);

	counter_add(&lane->cache->lookups, lookup->counted == CACHE_COUNT_ALL ? lookup->count : 0);
	lookup->unanswered = 0;
	lane->cork.held++;
	for (size_t first = 0; first < lookup->count; first += most) {
		size_t count = lookup->count - first < most ? lookup->count - first : most;

		if (ask(lane, lookup, first, count)) {
			lookup->unanswered++;
		} else {
			fail(lane, lookup, count);
		}
	}
	redis_cork_release(&lane->cork);
	return lookup->unanswered == 0;
}

void
lane_reset_connections(struct redis_lane *lane)
{
	struct redis_node *node;

	TAILQ_FOREACH (node, &lane->topology.nodes, list) {
		redis_node_reset(node, "an answer that belongs to another question");
	}
}
