#include "base/container_of.h"
#include "caches/redis/connection/bulk_reader.h"

#include "base/buf.h"
#include "base/unit_test.h"
#include "caches/redis/connection/reply.h"

#include <stdlib.h>

#define DIRECT_MIN ((size_t)48 << 10) /* as in bulk_reader.c */
#define LARGE ((size_t)300000)

/* A connection that delivers `wire`, at most `piece` bytes per read. */
struct line {
	const uint8_t *wire;
	size_t length;
	size_t sent;
	size_t piece;
	size_t reads;
	valkeyContext context;
	valkeyContextFuncs funcs;
	struct redis_bulk_reader bulk_reader;
};

static ssize_t
read_line(valkeyContext *context, char *buffer, size_t room)
{
	struct line *line = container_of(context, struct line, context);
	size_t count = line->length - line->sent;

	line->reads++;
	if (count == 0) {
		context->err = VALKEY_ERR_EOF;
		return -1;
	}
	count = count < room ? count : room;
	count = count < line->piece ? count : line->piece;
	memcpy(buffer, line->wire + line->sent, count);
	line->sent += count;
	return (ssize_t)count;
}

static void
line_init(struct line *line, const struct buf *wire, size_t piece)
{
	*line = (struct line){.wire = wire->at, .length = wire->length, .piece = piece, .bulk_reader.wanted = true};
	line->funcs.read = read_line;
	line->context.funcs = &line->funcs;
	line->context.reader = valkeyReaderCreateWithFunctions(&redis_reply_functions);
	assert_non_null(line->context.reader);
	redis_bulk_reader_begin(&line->bulk_reader, &line->context);
}

static void
line_fini(struct line *line)
{
	redis_bulk_reader_end(&line->bulk_reader, &line->context);
	assert_ptr_equal(line->context.funcs, &line->funcs);
	valkeyReaderFree(line->context.reader);
}

/* Reads a reply as libvalkey does. Returns NULL if the connection or the reader fails first. */
static struct redis_reply *
next_reply(struct line *line)
{
	static char buffer[(size_t)16 << 10];
	void *reply = NULL;
	ssize_t got;

	while (valkeyReaderGetReply(line->context.reader, &reply) == VALKEY_OK && reply == NULL) {
		got = line->context.funcs->read(&line->context, buffer, sizeof(buffer));
		if (got < 0 || valkeyReaderFeed(line->context.reader, buffer, (size_t)got) != VALKEY_OK) {
			return NULL;
		}
	}
	return reply;
}

static void
free_reply(struct redis_reply *reply)
{
	redis_reply_functions.freeObject(reply);
}

static uint8_t
byte_at(size_t i, size_t length)
{
	return (uint8_t)(i * 31 + i / 251 + length);
}

static void
put_string(struct buf *wire, size_t length)
{
	buf_format(wire, "$%zu\r\n", length);
	for (size_t i = 0; i < length; i++) {
		buf_byte(wire, byte_at(i, length));
	}
	buf_append(wire, bytes_text("\r\n"));
}

static void
check_string(const valkeyReply *base, size_t length)
{
	const struct redis_reply *reply = (const struct redis_reply *)base;

	assert_int_equal(base->type, VALKEY_REPLY_STRING);
	assert_int_equal(base->len, length);
	assert_int_equal(reply->blob->length, length);
	assert_ptr_equal(base->str, reply->blob->data);
	for (size_t i = 0; i < length; i++) {
		if (reply->blob->data[i] != byte_at(i, length)) {
			fail_msg("another byte at %zu of %zu", i, length);
		}
	}
	assert_int_equal(base->str[length], '\0');
}

static const size_t pieces[] = {1, 7, 1000, 4096, 16 << 10, 64 << 10, SIZE_MAX};

/* Strings of all sizes around the limit, each followed by a short reply, in pieces of all sizes. */
static void
test_strings(void **state)
{
	static const size_t lengths[] = {0, 1, DIRECT_MIN - 1, DIRECT_MIN, DIRECT_MIN + 1, 64 << 10, LARGE};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		for (size_t j = 0; j < sizeof(pieces) / sizeof(*pieces); j++) {
			struct buf wire;
			struct line line;
			struct redis_reply *reply;

			buf_init(&wire, 2 * LARGE);
			put_string(&wire, lengths[i]);
			buf_append(&wire, bytes_text(":7\r\n"));
			line_init(&line, &wire, pieces[j]);
			reply = next_reply(&line);
			assert_non_null(reply);
			check_string(&reply->base, lengths[i]);
			free_reply(reply);
			reply = next_reply(&line);
			assert_non_null(reply);
			assert_int_equal(reply->base.integer, 7);
			free_reply(reply);
			line_fini(&line);
			buf_fini(&wire);
		}
	}
}

/* The reply to an MGET: large strings, a nil, an empty string (for which there is no blob), a small string. */
static void
test_several(void **state)
{
	(void)state;
	for (size_t j = 0; j < sizeof(pieces) / sizeof(*pieces); j++) {
		struct buf wire;
		struct line line;
		struct redis_reply *reply;

		buf_init(&wire, 4 * LARGE);
		buf_append(&wire, bytes_text("*6\r\n"));
		put_string(&wire, LARGE);
		put_string(&wire, 0);
		put_string(&wire, DIRECT_MIN);
		buf_append(&wire, bytes_text("$-1\r\n"));
		put_string(&wire, 5);
		put_string(&wire, LARGE + 1);
		line_init(&line, &wire, pieces[j]);
		reply = next_reply(&line);
		assert_non_null(reply);
		check_string(reply->base.element[0], LARGE);
		check_string(reply->base.element[1], 0);
		check_string(reply->base.element[2], DIRECT_MIN);
		assert_int_equal(reply->base.element[3]->type, VALKEY_REPLY_NIL);
		check_string(reply->base.element[4], 5);
		check_string(reply->base.element[5], LARGE + 1);
		free_reply(reply);
		line_fini(&line);
		buf_fini(&wire);
	}
}

/* The rest of a large string takes one read if it has come, not one for each buffer of libvalkey's. */
static void
test_few_reads(void **state)
{
	struct buf wire;
	struct line line;
	struct redis_reply *reply;

	(void)state;
	buf_init(&wire, 2 * LARGE);
	put_string(&wire, LARGE);
	line_init(&line, &wire, SIZE_MAX);
	reply = next_reply(&line);
	assert_non_null(reply);
	assert_int_equal(line.reads, 2);
	free_reply(reply);
	line_fini(&line);
	buf_fini(&wire);
}

/* A string that no command asked for is read by libvalkey alone, whose limits then hold. */
static void
test_unasked(void **state)
{
	struct buf wire;
	struct line line;
	struct redis_reply *reply;

	(void)state;
	buf_init(&wire, 2 * LARGE);
	put_string(&wire, LARGE);
	line_init(&line, &wire, 4096);
	line.bulk_reader.wanted = false;
	reply = next_reply(&line);
	assert_non_null(reply);
	assert_null(line.bulk_reader.blob);
	check_string(&reply->base, LARGE);
	free_reply(reply);
	line_fini(&line);
	buf_fini(&wire);
}

static void
test_wrong_end(void **state)
{
	(void)state;
	for (size_t j = 0; j < sizeof(pieces) / sizeof(*pieces); j++) {
		for (size_t wrong = 1; wrong <= 2; wrong++) {
			struct buf wire;
			struct line line;

			buf_init(&wire, 2 * LARGE);
			put_string(&wire, LARGE);
			wire.at[wire.length - wrong] = 'x';
			line_init(&line, &wire, pieces[j]);
			assert_null(next_reply(&line));
			assert_int_equal(line.context.err, VALKEY_ERR_PROTOCOL);
			line_fini(&line);
			buf_fini(&wire);
		}
	}
}

/* The connection ends within a string, at its head, in an array, or before its last byte. */
static void
test_end(void **state)
{
	static const size_t missing[] = {1, 2, 3, 1000, DIRECT_MIN, LARGE, LARGE + 2, LARGE + 5};

	(void)state;
	for (size_t i = 0; i < sizeof(missing) / sizeof(*missing); i++) {
		for (size_t j = 0; j < sizeof(pieces) / sizeof(*pieces); j++) {
			struct buf wire;
			struct line line;

			buf_init(&wire, 4 * LARGE);
			buf_append(&wire, bytes_text("*2\r\n"));
			put_string(&wire, LARGE);
			put_string(&wire, LARGE);
			wire.length -= missing[i];
			line_init(&line, &wire, pieces[j]);
			assert_null(next_reply(&line));
			assert_int_equal(line.context.err, VALKEY_ERR_EOF);
			line_fini(&line);
			buf_fini(&wire);
		}
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings), cmocka_unit_test(test_several),	  cmocka_unit_test(test_few_reads),
		cmocka_unit_test(test_unasked), cmocka_unit_test(test_wrong_end), cmocka_unit_test(test_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
