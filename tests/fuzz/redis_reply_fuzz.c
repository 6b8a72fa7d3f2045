/*
 * Reads a server's replies, as a socket delivers them, with the bulk reader and libvalkey's reader, and passes them to
 * every parser of a server's texts and arrays. The first byte sets the most bytes that one read returns.
 */
#include "caches/redis/connection/address.h"
#include "caches/redis/connection/bulk_reader.h"
#include "caches/redis/connection/refusal.h"
#include "caches/redis/connection/reply.h"
#include "caches/redis/topology/slots.h"

#include <stdlib.h>

#define ROOM ((size_t)16 << 10) /* bytes in libvalkey's read buffer */
#define NESTED_MAX 16		/* beyond libvalkey's limit */

static const struct redis_address asked = {.host = "127.0.0.1", .port = 6379};

struct line {
	struct bytes wire;
	size_t piece;
	valkeyContext context;
	valkeyContextFuncs funcs;
	struct redis_bulk_reader bulk_reader;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ssize_t
read_line(valkeyContext *context, char *buffer, size_t room)
{
	struct line *line = (struct line *)((char *)context - offsetof(struct line, context));
	size_t count = line->wire.length < room ? line->wire.length : room;

	if (count == 0) {
		return -1;
	}
	count = count < line->piece ? count : line->piece;
	memcpy(buffer, line->wire.at, count);
	line->wire = bytes_skip(line->wire, count);
	return (ssize_t)count;
}

static void
check(bool holds)
{
	if (!holds) {
		abort();
	}
}

static void
read_text(struct bytes text)
{
	struct redis_address address;
	enum redis_redirect kind;
	uint16_t slot = 0;

	check(redis_refusal_of(text) < REDIS_REFUSAL_COUNT);
	if (redis_redirect_read(text, &kind, &slot, &address, &asked)) {
		check(slot < REDIS_SLOT_COUNT && address.port > 0 && memchr(address.host, '\0', sizeof(address.host)));
	}
	if (redis_switch_master_read(text, bytes_text("prime"), &address)) {
		check(address.port > 0 && memchr(address.host, '\0', sizeof(address.host)));
	}
}

static void
read_slots(const valkeyReply *reply)
{
	struct redis_slots slots;

	if (!redis_slots_read(reply, &asked, &slots)) {
		return;
	}
	check(slots.shard_count > 0 && slots.shard_count <= REDIS_SHARD_MAX);
	for (size_t i = 0; i < slots.shard_count; i++) {
		check(slots.shards[i].replica_count <= REDIS_REPLICA_MAX);
	}
	for (size_t i = 0; i < REDIS_SLOT_COUNT; i++) {
		check(slots.shard_of[i] == REDIS_NO_SHARD || slots.shard_of[i] < slots.shard_count);
	}
	redis_slots_fini(&slots);
}

/* Parses the texts at any depth, and checks that each string is its blob's content. */
static void
read_texts(const valkeyReply *reply, unsigned depth)
{
	const struct blob *blob = ((const struct redis_reply *)reply)->blob;

	check(depth < NESTED_MAX);
	if (reply->str != NULL) {
		check(blob != NULL && reply->str == (const char *)blob->data && reply->len == blob->length);
		check(reply->str[reply->len] == '\0');
		read_text(bytes_make(reply->str, reply->len));
	}
	for (size_t i = 0; i < reply->elements; i++) {
		read_texts(reply->element[i], depth + 1);
	}
}

/* Returns the next whole reply, or NULL if there is none. */
static valkeyReply *
next_reply(struct line *line)
{
	static char buffer[ROOM];
	valkeyReader *reader = line->context.reader;
	void *reply = NULL;
	ssize_t got;

	while (valkeyReaderGetReply(reader, &reply) == VALKEY_OK && reply == NULL) {
		got = line->context.funcs->read(&line->context, buffer, sizeof(buffer));
		if (got < 0 || valkeyReaderFeed(reader, buffer, (size_t)got) != VALKEY_OK) {
			return NULL;
		}
	}
	return reply;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct line line = {.funcs.read = read_line, .bulk_reader.wanted = true};
	valkeyReply *reply;

	if (size == 0) {
		return 0;
	}
	line.piece = data[0] < 128 ? (size_t)data[0] + 1 : SIZE_MAX;
	line.wire = bytes_make(data + 1, size - 1);
	line.context.funcs = &line.funcs;
	line.context.reader = valkeyReaderCreateWithFunctions(&redis_reply_functions);
	check(line.context.reader != NULL);
	redis_bulk_reader_begin(&line.bulk_reader, &line.context);
	while ((reply = next_reply(&line)) != NULL) {
		read_texts(reply, 0);
		read_slots(reply);
		redis_reply_functions.freeObject(reply);
	}
	redis_bulk_reader_end(&line.bulk_reader, &line.context);
	valkeyReaderFree(line.context.reader);
	return 0;
}
