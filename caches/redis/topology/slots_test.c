#include "caches/redis/topology/slots.h"

#include "caches/redis/connection/reply.h"

#include "base/unit_test.h"

#include <stdio.h>
#include <stdlib.h>

/* A node in the RESP of the tests below. */
#define NODE(host, port) "*3\r\n$1\r\n" host "\r\n:" port "\r\n$2\r\nid\r\n"

static const struct redis_address asked = {.host = "asked", .port = 7000};

/* The reply to CLUSTER SLOTS, the same in RESP2 and RESP3: three ranges, the first and the last of one primary. */
static const char three_ranges[] = "*3\r\n*4\r\n:0\r\n:99\r\n"
				   "*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n*3\r\n$1\r\nb\r\n:2\r\n$2\r\nid\r\n"
				   "*3\r\n:100\r\n:199\r\n"
				   "*3\r\n$1\r\nc\r\n:3\r\n$2\r\nid\r\n"
				   "*6\r\n:300\r\n:16383\r\n"
				   "*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n*3\r\n$1\r\nb\r\n:2\r\n$2\r\nid\r\n"
				   "*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n*3\r\n$1\r\nd\r\n:4\r\n$2\r\nid\r\n";

static const char with_metadata[] =
	"*2\r\n*3\r\n:0\r\n:8191\r\n"
	"*4\r\n$1\r\n?\r\n:1\r\n$2\r\nid\r\n*4\r\n$17\r\navailability-zone\r\n$3\r\neu1\r\n$2\r\nip\r\n$3\r\n::1\r\n"
	"*4\r\n:8192\r\n:16383\r\n"
	"*4\r\n$1\r\nb\r\n:2\r\n$2\r\nid\r\n%1\r\n$17\r\navailability-zone\r\n$3\r\neu2\r\n"
	"*4\r\n$1\r\nc\r\n:3\r\n$2\r\nid\r\n%0\r\n";

/* Parses `text`. Returns NULL if libvalkey's reader refuses it or needs more bytes. */
static struct redis_reply *
read_reply(const char *text, size_t length)
{
	valkeyReader *reader = valkeyReaderCreateWithFunctions(&redis_reply_functions);
	void *reply = NULL;

	if (valkeyReaderFeed(reader, text, length) != VALKEY_OK || valkeyReaderGetReply(reader, &reply) != VALKEY_OK) {
		reply = NULL;
	}
	valkeyReaderFree(reader);
	return reply;
}

static bool
read_slots(const char *text, const struct redis_address *from, struct redis_slots *slots)
{
	struct redis_reply *reply = read_reply(text, strlen(text));
	bool good;

	assert_non_null(reply);
	good = redis_slots_read(&reply->base, from, slots);
	redis_reply_functions.freeObject(reply);
	return good;
}

static void
assert_node(const struct redis_slots_node *node, const char *host, uint16_t port, const char *zone)
{
	assert_string_equal(node->address.host, host);
	assert_int_equal(node->address.port, port);
	assert_string_equal(node->zone, zone);
}

static uint16_t
crc16_bit_by_bit(uint8_t byte)
{
	unsigned int crc = (unsigned int)byte << 8;

	for (int i = 0; i < 8; i++) {
		crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
	}
	return (uint16_t)crc;
}

static void
test_slot_of_key(void **state)
{
	(void)state;
	assert_int_equal(redis_slot(bytes_text("foo")), 12182);
	assert_int_equal(redis_slot(bytes_text("123456789")), 0x31c3);
	assert_int_equal(redis_slot(bytes_text("")), 0);
	assert_int_equal(redis_slot(bytes_make(NULL, 0)), 0);
	for (unsigned int i = 0; i < 256; i++) {
		uint8_t byte = (uint8_t)i;

		assert_int_equal(redis_slot(bytes_make(&byte, 1)), crc16_bit_by_bit(byte) & 0x3fff);
	}
}

static void
test_slot_of_tagged_key(void **state)
{
	uint16_t foo = redis_slot(bytes_text("foo"));

	(void)state;
	assert_int_equal(redis_slot(bytes_text("{foo}")), foo);
	assert_int_equal(redis_slot(bytes_text("a{foo}b")), foo);
	assert_int_equal(redis_slot(bytes_text("a{foo}{bar}")), foo);
	assert_int_equal(redis_slot(bytes_text("}{foo}")), foo);
	assert_int_equal(redis_slot(bytes_text("{{foo}")), redis_slot(bytes_text("x{{foo}y")));
	assert_int_not_equal(redis_slot(bytes_text("{}{foo}")), foo);
	assert_int_not_equal(redis_slot(bytes_text("{foo")), foo);
	assert_int_not_equal(redis_slot(bytes_text("foo}")), foo);
	assert_int_not_equal(redis_slot(bytes_text("{")), 0);
}

static void
test_ranges(void **state)
{
	struct redis_slots slots;

	(void)state;
	assert_true(read_slots(three_ranges, &asked, &slots));
	assert_int_equal(slots.shard_count, 2);
	assert_node(&slots.shards[0].primary, "a", 1, "");
	assert_int_equal(slots.shards[0].replica_count, 2);
	assert_node(&slots.shards[0].replicas[0], "b", 2, "");
	assert_node(&slots.shards[0].replicas[1], "d", 4, "");
	assert_node(&slots.shards[1].primary, "c", 3, "");
	assert_int_equal(slots.shards[1].replica_count, 0);
	for (unsigned int slot = 0; slot < REDIS_SLOT_COUNT; slot++) {
		unsigned int nobody = slot < 300 ? REDIS_NO_SHARD : 0;
		unsigned int expected = slot < 100 ? 0 : slot < 200 ? 1 : nobody;

		assert_int_equal(slots.shard_of[slot], expected);
	}
	redis_slots_fini(&slots);
}

static void
test_metadata(void **state)
{
	struct redis_slots slots;

	(void)state;
	assert_true(read_slots(with_metadata, &asked, &slots));
	assert_int_equal(slots.shard_count, 2);
	assert_node(&slots.shards[0].primary, "::1", 1, "eu1");
	assert_node(&slots.shards[1].primary, "b", 2, "eu2");
	assert_node(&slots.shards[1].replicas[0], "c", 3, "");
	redis_slots_fini(&slots);
}

/* A node that does not know its host is at the host that we asked; over a Unix socket only its IP helps. */
static void
test_unknown_endpoints(void **state)
{
	static const struct redis_address path = {.host = "/run/redis.sock"};
	static const char *const unknown[] = {"$-1\r\n", "_\r\n", "$0\r\n\r\n"};
	struct redis_slots slots;
	char text[200];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(text, sizeof(text), "*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n%s:7001\r\n", unknown[i]);
		assert_true(read_slots(text, &asked, &slots));
		assert_node(&slots.shards[0].primary, "asked", 7001, "");
		redis_slots_fini(&slots);
		assert_false(read_slots(text, &path, &slots));
		(void)snprintf(text, sizeof(text),
			       "*1\r\n*3\r\n:0\r\n:9\r\n*4\r\n%s:7001\r\n$0\r\n\r\n*2\r\n$2\r\nip\r\n$3\r\n::1\r\n",
			       unknown[i]);
		assert_true(read_slots(text, &path, &slots));
		assert_node(&slots.shards[0].primary, "::1", 7001, "");
		redis_slots_fini(&slots);
	}
}

/* Unusable nodes are left out. If a primary is left out, so is its range; the other ranges stay. */
static void
test_nodes_left_out(void **state)
{
	static const char *const nodes[] = {
		"*3\r\n$1\r\n?\r\n:1\r\n$2\r\nid\r\n",
		"*4\r\n$1\r\n?\r\n:1\r\n$2\r\nid\r\n*0\r\n",
		"*4\r\n$1\r\n?\r\n:1\r\n$2\r\nid\r\n%1\r\n$2\r\nip\r\n$0\r\n\r\n",
		"*4\r\n$1\r\n?\r\n:1\r\n$2\r\nid\r\n*1\r\n$2\r\nip\r\n",
		"*4\r\n$1\r\n?\r\n:1\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n:7\r\n",
		"*4\r\n$1\r\n?\r\n:1\r\n$2\r\nid\r\n:7\r\n",
		"*2\r\n$1\r\nx\r\n:0\r\n",
		"*2\r\n$1\r\nx\r\n:-1\r\n",
		"*2\r\n$1\r\nx\r\n:65536\r\n",
		"*2\r\n$1\r\nx\r\n:9223372036854775807\r\n",
		"*2\r\n$1\r\nx\r\n$1\r\n1\r\n",
		"*2\r\n$2\r\n/x\r\n:1\r\n",
		"*2\r\n$3\r\na\nb\r\n:1\r\n",
		"*2\r\n:1\r\n:1\r\n",
		"*2\r\n*0\r\n:1\r\n",
		"*1\r\n$1\r\nx\r\n",
		"*0\r\n",
		"*-1\r\n",
		":1\r\n",
		"$1\r\nx\r\n",
		"-ERR x\r\n",
		"#t\r\n",
	};
	struct redis_slots slots;
	char text[400];

	(void)state;
	for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes); i++) {
		(void)snprintf(text, sizeof(text), "*2\r\n*3\r\n:0\r\n:9\r\n%s*4\r\n:10\r\n:19\r\n" NODE("a", "1") "%s",
			       nodes[i], nodes[i]);
		assert_true(read_slots(text, &asked, &slots));
		assert_int_equal(slots.shard_count, 1);
		assert_int_equal(slots.shards[0].replica_count, 0);
		assert_int_equal(slots.shard_of[9], REDIS_NO_SHARD);
		assert_int_equal(slots.shard_of[10], 0);
		redis_slots_fini(&slots);
		(void)snprintf(text, sizeof(text), "*1\r\n*3\r\n:0\r\n:9\r\n%s", nodes[i]);
		assert_false(read_slots(text, &asked, &slots));
	}
}

static void
test_refused(void **state)
{
	static const char *const texts[] = {
		"*0\r\n",
		"*-1\r\n",
		"_\r\n",
		":1\r\n",
		"$1\r\nx\r\n",
		"-ERR This instance has cluster support disabled\r\n",
		"%1\r\n:0\r\n:1\r\n",
		"*1\r\n:1\r\n",
		"*1\r\n*0\r\n",
		"*1\r\n*-1\r\n",
		"*1\r\n*2\r\n:0\r\n:1\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:0\r\n",
		"*1\r\n*3\r\n:-1\r\n:1\r\n" NODE("a", "1"),
		"*1\r\n*3\r\n:0\r\n:16384\r\n" NODE("a", "1"),
		"*1\r\n*3\r\n:0\r\n:-1\r\n" NODE("a", "1"),
		"*1\r\n*3\r\n:2\r\n:1\r\n" NODE("a", "1"),
		"*1\r\n*3\r\n:-9223372036854775808\r\n:9223372036854775807\r\n" NODE("a", "1"),
		"*1\r\n*3\r\n$1\r\n0\r\n:1\r\n" NODE("a", "1"),
		"*1\r\n*3\r\n:0\r\n_\r\n" NODE("a", "1"),
		"*2\r\n*3\r\n:0\r\n:5\r\n" NODE("a", "1") "*3\r\n:5\r\n:9\r\n" NODE("b", "1"),
		"*2\r\n*3\r\n:0\r\n:5\r\n" NODE("a", "1") ":1\r\n",
	};
	struct redis_slots slots;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_false(read_slots(texts[i], &asked, &slots));
		assert_null(slots.shards);
		assert_int_equal(slots.shard_count, 0);
	}
	assert_false(redis_slots_read(NULL, &asked, &slots));
}

static void
test_long_texts(void **state)
{
	struct redis_slots slots;
	char text[800];
	char many[401];

	(void)state;
	memset(many, 'z', 400);
	many[400] = '\0';
	for (int length = 250; length < 400; length++) {
		(void)snprintf(text, sizeof(text), "*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$%d\r\n%.*s\r\n:1\r\n", length,
			       length, many);
		if (read_slots(text, &asked, &slots)) {
			assert_true(length <= 255);
			redis_slots_fini(&slots);
		} else {
			assert_true(length > 255);
		}
	}
	for (int length = 0; length < 100; length++) {
		(void)snprintf(
			text, sizeof(text),
			"*1\r\n*3\r\n:0\r\n:9\r\n*4\r\n$1\r\na\r\n:1\r\n$0\r\n\r\n*2\r\n$17\r\navailability-zone\r\n$%"
			"d\r\n%.*s\r\n",
			length, length, many);
		assert_true(read_slots(text, &asked, &slots));
		assert_int_equal(strlen(slots.shards[0].primary.zone), length < 64 ? length : 0);
		redis_slots_fini(&slots);
	}
}

/* One range of one slot for each of `count` primaries; the last has ten replicas. */
static char *
many_shards(unsigned int count)
{
	size_t size = 100 + (size_t)count * 60 + 10 * 40;
	char *text = malloc(size);
	size_t at = (size_t)snprintf(text, size, "*%u\r\n", count);

	for (unsigned int i = 0; i < count; i++) {
		unsigned int elements = i + 1 < count ? 3 : 13;

		at += (size_t)snprintf(text + at, size - at, "*%u\r\n:%u\r\n:%u\r\n", elements, i, i);
		for (unsigned int j = 2; j < elements; j++) {
			at += (size_t)snprintf(text + at, size - at, "*2\r\n$1\r\nm\r\n:%u\r\n", 1 + i + j - 2);
		}
	}
	return text;
}

static void
test_bounds(void **state)
{
	struct redis_slots slots;
	char *text = many_shards(REDIS_SHARD_MAX);

	(void)state;
	assert_true(read_slots(text, &asked, &slots));
	free(text);
	assert_int_equal(slots.shard_count, REDIS_SHARD_MAX);
	for (unsigned int i = 0; i < REDIS_SHARD_MAX; i++) {
		assert_int_equal(slots.shard_of[i], i);
		assert_int_equal(slots.shards[i].primary.address.port, i + 1);
	}
	assert_int_equal(slots.shards[REDIS_SHARD_MAX - 1].replica_count, REDIS_REPLICA_MAX);
	redis_slots_fini(&slots);
	text = many_shards(REDIS_SHARD_MAX + 1);
	assert_false(read_slots(text, &asked, &slots));
	free(text);
}

static uint32_t
next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* Damages a reply in a few places. If the reader still accepts it, the slots read from it must be consistent. */
static void
damage(const char *original, size_t length, uint32_t *seed)
{
	static const char bytes[] = "*%$:_-#0123456789\r\n?a";
	struct redis_slots slots;
	struct redis_reply *reply;
	char text[1024];

	memcpy(text, original, length);
	for (uint32_t i = next_random(seed) % 4; i < 4; i++) {
		text[next_random(seed) % length] = bytes[next_random(seed) % (sizeof(bytes) - 1)];
	}
	reply = read_reply(text, length);
	if (reply == NULL) {
		return;
	}
	if (redis_slots_read(&reply->base, &asked, &slots)) {
		for (size_t i = 0; i < REDIS_SLOT_COUNT; i++) {
			assert_true(slots.shard_of[i] < slots.shard_count || slots.shard_of[i] == REDIS_NO_SHARD);
		}
		for (size_t i = 0; i < slots.shard_count; i++) {
			assert_true(slots.shards[i].replica_count <= REDIS_REPLICA_MAX);
			assert_int_not_equal(slots.shards[i].primary.address.port, 0);
		}
		redis_slots_fini(&slots);
	}
	redis_reply_functions.freeObject(reply);
}

static void
test_damaged(void **state)
{
	uint32_t seed = 2463534242;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		damage(three_ranges, sizeof(three_ranges) - 1, &seed);
		damage(with_metadata, sizeof(with_metadata) - 1, &seed);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slot_of_key),
		cmocka_unit_test(test_slot_of_tagged_key),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_unknown_endpoints),
		cmocka_unit_test(test_nodes_left_out),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_long_texts),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
